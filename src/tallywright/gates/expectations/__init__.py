"""What of Great Expectations may stand in a suite, how it is read and checked, and what its answers become."""
