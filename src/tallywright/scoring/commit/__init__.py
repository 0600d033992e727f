"""From staged output to one verified Delta commit a day, and what is recorded of it."""
