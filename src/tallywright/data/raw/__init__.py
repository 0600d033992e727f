"""Raw files: which they are, how they are unpacked, and how each line of them becomes a row or a refusal."""
