"""Checks that must pass before a day is scored or a model is promoted; each gives a `GateReport`."""
