"""Models that were trained elsewhere: read as data, never as pickle, and given the inputs and output of a package."""
