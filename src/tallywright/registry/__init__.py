"""The registry: which model is in production on which date, by the promotion log, which MLflow's aliases mirror."""
