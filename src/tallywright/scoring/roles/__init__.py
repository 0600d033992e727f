"""Which model scores a row, and whether its prediction may be served."""
