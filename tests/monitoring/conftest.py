"""A small real world: a lake with scored days, their labels and a package with its training reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from synthetic import make_features, make_package, make_request, make_spec, put_day

from tallywright.data.lake import Lake
from tallywright.scoring.profile_table import read_profile
from tallywright.scoring.tally import score_day

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tallywright.packaging.package import Package
    from tallywright.records import Manifest
    from tallywright.spec.model import ModelSpec

FIRST = date(2024, 3, 1)


@dataclass
class World:
    """Scores and labels days on request."""

    lake: Lake
    spec: ModelSpec
    package: Package
    features: dict[date, pa.Table] = field(default_factory=dict)

    def score(self, day: date, rows: int = 300, *, change: Callable[[pa.Table], pa.Table] | None = None) -> Manifest:
        features = make_features(rows, seed=day.toordinal())
        self.features[day] = change(features) if change else features
        pinned = put_day(self.lake, self.spec, self.features[day], day=day)
        return score_day(make_request(self.lake, self.spec, pinned, self.package)).manifest

    def profile(self, manifest: Manifest):
        row = read_profile(self.lake, self.spec, manifest)
        assert row is not None
        return row.profile

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


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return make_package(tmp_path_factory.mktemp("package") / "package")


@pytest.fixture
def world(tmp_path: Path, package: Package) -> World:
    spec = make_spec(
        training={"slices": ["c0"]},
        monitoring={"min_rows": 200, "min_labels": 100, "performance_floor": {"roc_auc": {"min": 0.55}}},
    )
    return World(Lake(str(tmp_path / "lake")), spec, package)
