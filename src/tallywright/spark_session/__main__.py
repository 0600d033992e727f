"""`python -m tallywright.spark_session --stage [FOLDER]`: fetches Delta's jars, and prints where they are."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tallywright.errors import TallyError
from tallywright.spark_session.jars import jars_folder, stage_jars


def main() -> int:
    """Stages the jars; the exit code is that of the error."""
    parser = argparse.ArgumentParser(prog="python -m tallywright.spark_session", description=__doc__)
    parser.add_argument(
        "--stage", metavar="FOLDER", nargs="?", const=jars_folder(), type=Path, required=True,
        help="where to; without a folder it is where sessions look",
    )  # fmt: skip
    try:
        jars = stage_jars(parser.parse_args().stage)
    except TallyError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command of its own
        return error.exit_code
    print("\n".join(map(str, jars)))  # noqa: T201
    return 0


sys.exit(main())
