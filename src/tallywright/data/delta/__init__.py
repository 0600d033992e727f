"""Delta tables: opened under the table contract, written by compare-and-swap, kept in shape."""
