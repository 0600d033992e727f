"""A small real world that can be watched: days are gated, scored, compared and labelled on request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from synthetic import make_features, make_request, put_day, read_profile

from tallywright.gates.record import day_subject, record_report
from tallywright.monitoring.drift import compare_day, write_drift
from tallywright.profiles.profile import SCORE
from tallywright.records import Check, GateReport, Verdict
from tallywright.scoring.day import score_day

if TYPE_CHECKING:
    from tallywright.data.delta.lake import Lake
    from tallywright.packaging.package import Package
    from tallywright.profiles.profile import Profile
    from tallywright.records import InputVersion, Manifest
    from tallywright.spec.model import ModelSpec

NOW = datetime(2024, 4, 1, tzinfo=UTC)

Change = Callable[[pa.Table], pa.Table]


def warmer(features: pa.Table) -> pa.Table:
    """A day on which `x0` lies far from the reference."""
    return features.set_column(features.column_names.index("x0"), "x0", pc.add(features["x0"], 2.0))


@dataclass
class World:
    """Scores and labels days on request."""

    lake: Lake
    spec: ModelSpec
    package: Package
    features: dict[date, pa.Table] = field(default_factory=dict)

    def score(self, day: date, rows: int = 300, *, change: Change | None = None) -> Manifest:
        features = make_features(rows, seed=day.toordinal())
        self.features[day] = change(features) if change else features
        pinned = put_day(self.lake, self.spec, self.features[day], day=day)
        return score_day(make_request(self.lake, self.spec, pinned, self.package)).manifest

    def profile(self, manifest: Manifest) -> Profile:
        row = read_profile(self.lake, self.spec, manifest)
        assert row is not None
        return row.profile

    def watch(
        self, day: date, rows: int = 300, *, change: Change | None = None, verdict: Verdict = Verdict.PASS
    ) -> None:
        """Scores, gates and compares a day; the score itself is left out of the comparison, as it is made up."""
        manifest = self.score(day, rows, change=change)
        self.gate(manifest.input, verdict)
        found = compare_day(self.spec, self.package, manifest, self.profile(manifest))
        write_drift(self.lake, self.spec, manifest, [one for one in found if one.column != SCORE])

    def gate(self, pinned: InputVersion, verdict: Verdict, *, at: datetime = NOW) -> None:
        """A report of the day gate with one check."""
        check = Check(name="rows_as_ingested", verdict=verdict, observed=float(pinned.rows), bound="at least one")
        report = GateReport(gate="day", model=self.spec.name, subject=day_subject(pinned), checks=(check,))
        record_report(self.lake, self.spec, report, run_id=f"run-{verdict}", recorded_at=at)

    def label(self, day: date, *, skill: float = 1.0, arrives: timedelta = timedelta(hours=30), never: int = 0) -> None:
        """Labels that follow the scores with some skill; the first `never` rows will not have one."""
        scores = self.lake.read(self.spec.table("scores"), where={"score_date": day}).sort_by("order_id")
        random = np.random.default_rng(day.toordinal())
        chance = skill * scores["probability"].to_numpy() + (1 - skill) * 0.5
        values: list[int | None] = [int(value) for value in random.random(scores.num_rows) < chance]
        values[:never] = [None] * never
        arrival = datetime(day.year, day.month, day.day, tzinfo=UTC) + arrives
        labels = pa.table(
            {
                "order_id": scores["order_id"],
                "score_date": pa.array([day] * scores.num_rows, pa.date32()),
                "label": pa.array(values, pa.int64()),
                "label_time": pa.array([arrival] * scores.num_rows, pa.timestamp("us", "UTC")),
                "label_status": ["never"] * never + ["known"] * (scores.num_rows - never),
            }
        )
        self.lake.replace(self.spec.table("labels"), labels, slice={"score_date": day}, partition_by=("score_date",))
