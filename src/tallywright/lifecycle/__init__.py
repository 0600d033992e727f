"""The lifecycle of a model: the plan (pure), its steps, and the functions that run them."""
