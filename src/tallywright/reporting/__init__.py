"""The read side: report, overview, trace and preview, from the tables alone."""
