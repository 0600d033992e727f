"""The functions of the steps: each combines layers that do not import one another, and returns a small result."""
