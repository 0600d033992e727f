"""One day of each task that a champion and a shadow have scored, with labels as a test wants them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from synthetic import DAY, make_features, make_package, make_request, make_spec, model_ref, put_day, read_scores

from tallywright.data.delta.lake import Lake
from tallywright.records import Role
from tallywright.scoring.day import score_day

if TYPE_CHECKING:
    from pathlib import Path

    from tallywright.spec.model import ModelSpec

ROWS = 400


@dataclass
class ScoredDay:
    """The day, to be labelled."""

    lake: Lake
    spec: ModelSpec

    def label(self, values: list[Any], *, day: date = DAY) -> None:
        keys = read_scores(self.lake, self.spec, day)["order_id"]
        labels = pa.table(
            {
                "order_id": keys,
                "score_date": pa.array([day] * len(keys), pa.date32()),
                "label": pa.array(values),
                "label_time": pa.array([datetime(2024, 3, 2, tzinfo=UTC)] * len(keys), pa.timestamp("us", "UTC")),
                "label_status": pa.array(["known"] * len(keys), pa.string()),
            }
        )
        self.lake.replace(self.spec.table("labels"), labels, slice={"score_date": day}, partition_by=("score_date",))

    def rows(self, **where: Any) -> list[dict[str, Any]]:
        found = self.lake.read(self.spec.table("performance")).to_pylist()
        return [row for row in found if all(row[name] == value for name, value in where.items())]


def scored(tmp_path: Path, task: str, told: dict[str, Any], **sections: Any) -> ScoredDay:
    training = {"task": task, "slices": ["c0"]} | ({"positive": told["positive"]} if "positive" in told else {})
    monitoring = {"min_labels": 100} | sections.pop("monitoring", {})
    spec = make_spec(training=training, monitoring=monitoring, **sections)
    lake = Lake(str(tmp_path / "lake"))
    pinned = put_day(lake, spec, make_features(ROWS))
    champion, shadow = (make_package(tmp_path / str(seed), task=task, seed=seed, **told) for seed in (1, 2))
    models = (model_ref(spec, Role.CHAMPION, champion, 1), model_ref(spec, Role.SHADOW, shadow, 2))
    packages = {package.digest: package for package in (champion, shadow)}
    score_day(make_request(lake, spec, pinned, champion, models=models, packages=packages))
    return ScoredDay(lake, spec)


def drawn(task: str, told: dict[str, Any]) -> list[Any]:
    random = np.random.default_rng(4)
    if task == "regression":
        return [float(value) for value in random.gamma(2.0, size=ROWS)]
    classes = told.get("classes") or ("0", "1")
    names = [classes[code] for code in random.integers(0, len(classes), ROWS)]
    return (
        names if told.get("class_type", "string") == "string" and told.get("classes") else [int(one) for one in names]
    )
