"""Models from elsewhere become versions: fetched, packaged, judged on rows that they have not seen, registered."""
