"""The steps themselves: each function wires layers that may not know one another, and returns a small result."""
