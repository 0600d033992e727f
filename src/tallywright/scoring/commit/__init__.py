"""Commits: from staged output to one verified Delta commit a day, and the records of it."""
