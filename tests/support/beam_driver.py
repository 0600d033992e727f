"""A driver for tests that kill it: scores the day of a lake on a runner, slowly, batch by batch.

beam_driver.py LAKE PACKAGE INPUT RUNNER [OPTION …]
"""

from __future__ import annotations

import sys
from pathlib import Path

from beam_world import BeamDay, on

from tallywright.data.delta.lake import Lake
from tallywright.packaging.package import load_package
from tallywright.records import InputVersion
from tallywright.scoring.day import score_day
from tallywright.scoring.engines.base import Engines


def main(lake: str, package: str, pinned: str, runner: str, *options: str) -> None:
    day = BeamDay(Lake(lake), load_package(Path(package)), InputVersion.from_json(pinned))
    with Engines(on(runner, *options)) as engines:
        score_day(day.request(engines=engines))


if __name__ == "__main__":
    main(*sys.argv[1:])
