"""Where bytes lie: a disk or an object store, its options, its errors."""
