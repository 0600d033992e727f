"""Checks that the spec keeps files for longer than any run may need them; pure, for `tally validate`."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

from tallywright.lifecycle.plan import Pipeline, longest_run, plan

if TYPE_CHECKING:
    from tallywright.spec import ModelSpec


def retention_problems(spec: ModelSpec) -> list[str]:
    """Problems of retentions shorter than the longest run, which could lose files that it reads or is to commit."""
    runs = {pipeline: longest_run(plan(spec, pipeline)) for pipeline in Pipeline}
    slowest = max(runs, key=lambda pipeline: runs[pipeline])
    needed = math.ceil(runs[slowest] / timedelta(days=1))
    section = spec.maintenance
    return [
        f"maintenance.{name}: found {days}; at least {needed} days are needed, because a run of {spec.name}__{slowest} "
        f"may take {runs[slowest].total_seconds() / 3600:.0f} hours with all its retries"
        for name, days in (("orphan_days", section.orphan_days), ("retention_days", section.retention_days))
        if days < needed
    ]
