"""Verification: whether everything that is stored of a model is what was committed, and the repair of what is not."""
