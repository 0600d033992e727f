"""Estimators by scikit-learn's interface: made by their import path, converted to a graph, alone or a forest a fold."""
