"""For Beam: `python jobs/score_beam.py run MODEL score --date D` is `tally run MODEL score --date D`.

Any other command of `tally` works as well (`backfill` shares one runner among its days), and the exit codes are those
of `tally`. Where Beam runs is said by `engine.beam` in the environment overlay; see docs/beam.md.
"""

from __future__ import annotations

from tallywright.cli.main import main

if __name__ == "__main__":
    main()
