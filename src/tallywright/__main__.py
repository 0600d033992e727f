"""`python -m tallywright` is `tally`."""

from tallywright.cli.main import main

if __name__ == "__main__":
    main()
