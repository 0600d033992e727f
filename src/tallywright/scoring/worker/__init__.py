"""What runs on a worker: a split of the input becomes staged parts and counts."""
