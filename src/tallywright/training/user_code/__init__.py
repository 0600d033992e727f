"""The project's own Python: its file, read and inspected without running it, and the one door behind which it runs."""
