"""The input versions that tallies refer to: they must stay readable to score a day again, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallywright.records import Reference
from tallywright.scoring.commit.manifests import logged_tallies, recorded_tallies

if TYPE_CHECKING:
    from datetime import datetime

    from tallywright.data.delta.lake import Lake
    from tallywright.spec.model import ModelSpec


def tally_references(lake: Lake, spec: ModelSpec, since: datetime) -> list[Reference]:
    """The input versions of all tallies committed since an instant, superseded generations included."""
    scores = lake.find(spec.table("scores"))
    if scores is None:
        return []
    # the log has what a crash kept out of the table of tallies
    tallies = [*recorded_tallies(lake, spec), *logged_tallies(lake, scores)]
    pinned = {
        (tally.manifest.input.table, tally.manifest.input.version)
        for tally in tallies
        if tally.manifest.committed_at >= since
    }
    return [Reference(table=table, version=version, by="tally") for table, version in sorted(pinned)]
