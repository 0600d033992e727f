"""Which model scores a row, and whether its answer may be served."""
