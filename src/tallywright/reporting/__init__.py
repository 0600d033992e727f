"""Reporting: report, overview, trace and preview, from the tables alone."""
