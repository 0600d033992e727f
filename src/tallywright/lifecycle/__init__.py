"""Wiring: the plan (pure), the steps, and what carries them out."""
