"""Writes the raw files of `credit_risk`: `python models/credit_risk/generate.py --from 2023-01-01 --to 2024-12-31`.

The same seed, rows and faults give the same bytes for a day, whichever range is asked for.
"""

from __future__ import annotations

import sys
from pathlib import Path

from loans import write_days
from loans.arguments import parser_of, world_of

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Reads the arguments and writes the files."""
    parser = parser_of("Raw files of loan applications and their repayments, a file a day.")
    parser.add_argument("--output", type=Path, default=HERE / "raw", help="default: raw/ of this model project")
    parser.add_argument("--format", choices=("parquet", "csv"), default="parquet")
    given = parser.parse_args()
    files = list(write_days(world_of(parser, given), given.first, given.last, given.output, given.format))
    sys.stdout.write(f"{len(files)} files in {given.output}\n")


if __name__ == "__main__":
    main()
