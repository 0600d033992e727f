"""Training: from a pinned snapshot to a packaged model, reproducible to the bit and recorded in MLflow."""
