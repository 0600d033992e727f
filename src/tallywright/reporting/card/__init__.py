"""The model card of a version: what is known of it, as one tree that Markdown and HTML show alike."""
