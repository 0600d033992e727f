"""Raw files to features, labels and quarantine: sources, SQL, checks, ingest."""
