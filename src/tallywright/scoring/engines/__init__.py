"""Who distributes a day's splits: threads, Spark or Beam."""
