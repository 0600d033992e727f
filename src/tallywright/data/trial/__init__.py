"""What `tally validate` finds out about queries and raw data: nothing of it is kept."""
