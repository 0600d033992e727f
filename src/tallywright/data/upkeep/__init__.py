"""Keeping tables in shape beside their readers and writers: compaction, orphans, VACUUM, checkpoints."""
