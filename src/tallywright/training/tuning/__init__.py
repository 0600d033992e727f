"""The search for an estimator's parameters on the training and validation days."""
