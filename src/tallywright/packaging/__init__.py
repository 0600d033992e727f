"""The immutable model package and the predictor, the only thing that turns features into scores."""
