"""The data layer: Delta tables, ingest of raw files with SQL, snapshots for training, SQL over everything."""
