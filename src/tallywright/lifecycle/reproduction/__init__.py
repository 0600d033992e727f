"""A version made once more from what is recorded of it, and compared with what it is."""
