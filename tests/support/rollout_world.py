"""A model that lives day by day beside challengers: what is true comes from one package, and the others are worse."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from day_gate import report_day
from synthetic import DAY, commit_day, make_features, make_package, make_project

from tallywright.gates.record import record_report
from tallywright.lifecycle.context import RunContext, RunOptions, Shared
from tallywright.lifecycle.run import run_step
from tallywright.lifecycle.steps.advance import advance
from tallywright.mlflow_client import mlflow_client
from tallywright.packaging.package import Package, PackageCache
from tallywright.packaging.predictor import Predictor
from tallywright.records import JUDGED_AGAINST, JUDGED_BY, NO_CHAMPION, Check, GateReport, Promotion, Verdict
from tallywright.registry import versions
from tallywright.registry.evidence import evidence_of
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.versions_table import record_version

NOW = datetime(2024, 3, 2, tzinfo=UTC)
STAGES: Sequence[Mapping[str, Any]] = (
    {"stage": "shadow", "days": 6},
    {"stage": "canary", "share": 0.1, "days": 6},
    {"stage": "canary", "share": 0.5, "days": 6},
)
MONDAY = date(2024, 3, 4)
LIMITS = {"max_mean_difference": 1.0}
ROWS = 300


def make_packages(folder: Path) -> dict[int, Package]:
    """By seed; what is true is what the package of seed 2 says."""
    return {seed: make_package(folder / str(seed), seed=seed) for seed in (1, 2, 3, 4)}


class World:
    """A model whose day `number` is so many days after the first; labels are known on the same day.

    With `weekly` a day is the Monday of a week.
    """

    def __init__(
        self,
        root: Path,
        packages: Mapping[int, Package],
        *,
        truth: int = 2,
        maturity: int = 0,
        weekly: bool = False,
        **sections: Any,
    ) -> None:
        rollout = {"stages": [dict(one) for one in STAGES], "limits": LIMITS}
        values: dict[str, Any] = {
            "data": {"label_maturity_days": maturity},
            "monitoring": {"min_labels": 10, "min_rows": 10},
            "rollout": rollout | sections.pop("rollout", {}),
        } | ({"schedule": {"start_date": date(2024, 1, 1), "cadence": "week"}} if weekly else {})
        self.on = partial(on, weekly=weekly)
        for name, section in sections.items():
            values[name] = values.get(name, {}) | section
        self.project = make_project(root, **values)
        self.shared = Shared(self.project)
        self.lake = self.shared.lake
        self.packages, self.truth = packages, Predictor(packages[truth])

    @property
    def spec(self) -> Any:
        return self.project.spec

    @property
    def log(self) -> list[Promotion]:
        return PromotionLog(self.lake, self.spec).entries()

    def use_store(self, empty_store: Path) -> None:
        """Gives it a registry."""
        copy = Path(self.project.environment.tracking.uri.removeprefix("sqlite:///"))
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(empty_store, copy)

    def register(self, seed: int, *, quality: Verdict = Verdict.PASS, promote: bool = False) -> int:
        """Registers a package with the reports of its gates against the champion of now; returns its version."""
        package = PackageCache(Path(self.project.environment.storage.cache)).put(self.packages[seed].folder)
        champion = PromotionLog(self.lake, self.spec).current()
        against = NO_CHAMPION if champion is None else champion.package_digest
        judges = {JUDGED_AGAINST: against, JUDGED_BY: self.spec.gates.identity().current}
        checks = [Check(name="all", verdict=quality)]
        checks += [Check(name=name, verdict=Verdict.PASS, observed=seen) for name, seen in judges.items()]
        reports = [
            GateReport(gate="quality", model="shop", subject=package.digest, checks=tuple(checks)),
            GateReport(gate="operations", model="shop", subject=package.digest,
                       checks=(Check(name="all", verdict=Verdict.PASS),)),
        ]  # fmt: skip
        for report in reports:
            record_report(self.lake, self.spec, report, run_id=f"train-{seed}", recorded_at=NOW)
        evidence = evidence_of("shop", package.digest, reports)
        ref = versions.register(
            self.project, package.folder, run_id=package.meta.run_id or self.new_run(), evidence=evidence
        )
        record_version(self.lake, self.spec, ref, evidence, recorded_at=NOW)
        if promote:
            self.step("promote", 0, version=ref.version, reason="the first")
        return ref.version

    def new_run(self) -> str:
        with mlflow_client(self.project.environment.tracking.uri) as client:
            found = client.get_experiment_by_name("shop")
            place = self.project.environment.tracking.artifacts
            experiment = found.experiment_id if found else client.create_experiment("shop", artifact_location=place)
            return str(client.create_run(experiment).info.run_id)

    def context(self, number: int, **options: Any) -> RunContext:
        return RunContext(self.project, self.on(number), f"day-{number}", RunOptions(**options), given=self.shared)

    def step(self, name: str, number: int, **options: Any) -> dict[str, Any]:
        return run_step(self.context(number, **options), name)

    def score(self, number: int) -> dict[str, Any]:
        """Scores the day, which comes to be when it is asked for first."""
        day = self.on(number)
        if self.lake.find("shop__features") is None or not self.lake.files("shop__features", day=day):
            self.put(day)
        return self.step("score", number)

    def live(self, numbers: range, every: int = 1) -> list[dict[str, Any]]:
        """Scores the days, and advances after each or after every so many, the last one too; what the step says."""
        told = []
        for number in numbers:
            self.score(number)
            if (numbers[-1] - number) % every == 0:
                told.append(advance(self.context(number)))
        return told

    def put(self, day: date) -> None:
        features = make_features(ROWS, seed=day.toordinal())
        commit_day(self.lake, self.spec, features, day=day)
        report_day(self.lake, self.spec, day, at=NOW)
        known = datetime(day.year, day.month, day.day, 12, tzinfo=UTC) + timedelta(hours=6)
        (batch,) = features.combine_chunks().to_batches()
        chances = np.asarray(self.truth.predict(batch).outputs["probability"])
        drawn = np.random.default_rng(day.toordinal()).random(ROWS) < chances
        labels = pa.table(
            {
                "order_id": features["order_id"],
                "score_date": pa.array([day] * ROWS, pa.date32()),
                "label": pa.array(drawn.astype(np.int32)),
                "label_time": pa.array([known] * ROWS, pa.timestamp("us", "UTC")),
                "label_status": ["known"] * ROWS,
            }
        )
        self.lake.replace("shop__labels", labels, slice={"score_date": day}, partition_by=("score_date",))


def on(number: int, *, weekly: bool = False) -> date:
    """The date so many days after the first, or the Monday so many weeks after the first."""
    return MONDAY + timedelta(weeks=number) if weekly else DAY + timedelta(days=number)
