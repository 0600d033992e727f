"""For spark-submit: `spark-submit jobs/score_spark.py run MODEL score --date D` is `tally run MODEL score --date D`.

Any other command of `tally` works as well (`backfill` shares one session among its days). The exit codes are those of
`tally`, in client mode also those of spark-submit.
"""

from __future__ import annotations

from tallywright.cli.main import main

if __name__ == "__main__":
    main()
