"""Table maintenance beside readers and writers: compaction, orphans, VACUUM, checkpoints."""
