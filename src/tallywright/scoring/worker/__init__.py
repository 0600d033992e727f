"""The worker's side of scoring: a split of the input becomes staged parts and counts."""
