"""Scoring engines, which distribute a day's splits: threads, Spark or Beam."""
