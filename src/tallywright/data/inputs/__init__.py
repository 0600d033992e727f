"""The input versions of ingested dates: their records, and whether their files still stand."""
