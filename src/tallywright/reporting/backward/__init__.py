"""From a version, a data version, a commit or a raw file to the days and rows of scores that were made from it."""
