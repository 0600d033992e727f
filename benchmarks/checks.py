"""What the checks of what stands cost a day: page checksums written and verified, and digests of footers.

    python benchmarks/checks.py [--rows 5000000] [--pairs 15]

A pair is two fresh processes in turn that score the same day, with and without them; the ratio of their processor times
holds on a busy machine where seconds do not. Printed is the median ratio with its 95 % interval.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from functools import partialmethod
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

from benchmarks.airflow_day import median_interval  # noqa: E402 - the path had to be set
from benchmarks.score_day import child, make_world  # noqa: E402

WAY = "tallywright local"


class _NoDigest:
    """Stands in for a hash of a footer."""

    def __init__(self, _: bytes) -> None:
        pass

    def hexdigest(self) -> str:
        """Always the same."""
        return hashlib.sha256(b"").hexdigest()


def without_checks() -> None:
    """Takes the checks out of this process."""
    import pyarrow.parquet as pq

    from tallywright.data.delta import footers

    def read(self: Any, *given: Any, page_checksum_verification: bool = False, **others: Any) -> None:
        del page_checksum_verification
        opened(self, *given, **others)

    opened = pq.ParquetFile.__init__
    pq.ParquetFile.__init__ = read
    pq.ParquetWriter.__init__ = partialmethod(_written, pq.ParquetWriter.__init__)
    setattr(footers, "hashlib", SimpleNamespace(sha256=_NoDigest))  # noqa: B010 - a module takes no other type


def _written(self: Any, opened: Any, *given: Any, write_page_checksum: bool = False, **others: Any) -> None:
    del write_page_checksum
    opened(self, *given, **others)


def seconds(root: Path, *, checks: bool) -> float:
    """The processor time of one process that scores the day."""
    words = [sys.executable, __file__, "--root", str(root), "--child", "with" if checks else "without"]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1])["cpu_seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--child", choices=("with", "without"), help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        if given.child == "without":
            without_checks()
        child(WAY, given.root)
        return
    ratios = []
    with tempfile.TemporaryDirectory(prefix="tallywright-bench-") as folder:
        make_world(Path(folder), given.rows)
        for number in range(given.pairs):
            first = number % 2 == 0
            found = {checks: seconds(Path(folder), checks=checks) for checks in (first, not first)}
            ratios.append(found[True] / found[False])
            print(f"with {found[True]:.2f} CPU s, without {found[False]:.2f}: {ratios[-1]:.3f}", flush=True)
    low, high = median_interval(ratios)
    print(f"median ratio {median(ratios):.3f}  (95 % of {low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
