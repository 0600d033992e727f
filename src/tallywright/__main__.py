"""Runs the command `tally` as `python -m tallywright`."""

from tallywright.cli.main import main

if __name__ == "__main__":
    main()
