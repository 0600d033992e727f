"""Which model is in production on which date: the promotion log, and the MLflow registry that mirrors it."""
