"""The immutable model package, and the Predictor, which alone turns features into scores."""
