"""`tally package`: a model version for other places, as files, as a Python distribution, as an image's context."""
