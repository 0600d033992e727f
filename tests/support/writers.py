"""A day with real raw files, two versions and every writer of it, each as another process would run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from day_gate import report_day
from synthetic import DAY, columns_of, make_package, make_spec

from tallywright.data.delta.lake import Lake
from tallywright.data.etl.ingest import ingest
from tallywright.data.inputs.versions import input_version
from tallywright.errors import InputError
from tallywright.gates.record import day_subject
from tallywright.lifecycle.context import RunContext, RunOptions
from tallywright.lifecycle.run import run_step
from tallywright.packaging.package import Package, PackageCache
from tallywright.records import JUDGED_AGAINST, JUDGED_BY, NO_CHAMPION, Check, Decision, GateReport, ModelRef, Verdict
from tallywright.registry.evidence import evidence_of
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.transitions import RollbackRequest, promote, rollback
from tallywright.registry.versions_table import record_version
from tallywright.scoring.commit.manifests import logged_tallies
from tallywright.spec import Project, load_project

NOW = datetime(2024, 3, 5, tzinfo=UTC)
ROWS = 60
NUMERIC, CATEGORICAL = columns_of(2, 1)
CONTRACT = """
SELECT CAST(day AS DATE) AS score_date, CASE WHEN order_id LIKE 'bad%' THEN 'bad ' || x0 END AS reject_reason,
       order_id, CAST(x0 AS DOUBLE) AS x0, CAST(x1 AS DOUBLE) AS x1, c0, CAST(label AS INTEGER) AS label, known_at
FROM orders WHERE CAST(day AS DATE) BETWEEN :lookback_date AND :to_date
"""
FEATURES = """
SELECT score_date, order_id, CAST(score_date AS TIMESTAMP) AS score_moment, x0, x1, c0
FROM accepted WHERE score_date BETWEEN :from_date AND :to_date
"""
LABELS = """
SELECT order_id, score_date, label, CAST(known_at AS TIMESTAMP) AS label_time, 'known' AS label_status
FROM accepted WHERE score_date BETWEEN :from_date AND :to_date
"""


def raw_text(state: int, day: date = DAY) -> str:
    """The raw file in a state, which shows in every feature, every label and the quarantined row."""
    lines = ["order_id,day,x0,x1,c0,label,known_at"]
    lines += [f"bad,{day},{state},0,red,0,{day} 01:00:00"]
    lines += [
        f"o{row:03d},{day},{state * 10 + row / ROWS},{row % 7},{('red', 'blue')[row % 2]},{row % 3 % 2},"
        f"{day} {state:02d}:30:00"
        for row in range(ROWS)
    ]
    return "\n".join(lines) + "\n"


def make_versions(folder: Path) -> dict[int, Package]:
    """Two versions of the model."""
    return {number: make_package(folder / str(number), numeric=2, categorical=1, seed=number) for number in (1, 2, 3)}


@dataclass
class Day:
    """One day of one model; every method is a process of its own: it opens the lake itself."""

    root: Path
    sections: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def born(cls, root: Path, versions: Mapping[int, Package], **sections: Any) -> Day:
        """Version 1 is champion of the day, whose raw file is in state 1; nothing is ingested."""
        made = cls(root, sections)
        made._write_project()
        made.put_raw(1)
        cache = PackageCache(Path(made.project.environment.storage.cache))
        for number, package in versions.items():
            ref = made.ref(number, cache.put(package.folder))
            record_version(made.lake, made.project.spec, ref, evidence_of("shop", ref.digest, ()), recorded_at=NOW)
        made.promote(1)
        return made

    def _write_project(self) -> None:
        data = {"sources": {"orders": {"path": "orders.csv"}}, "label_maturity_days": 0, "lookback_days": 1}
        own: dict[str, Any] = {"data": data, "monitoring": {"min_labels": 10, "min_rows": 10}}
        for name, section in self.sections.items():
            own[name] = own.get(name, {}) | section
        spec = make_spec(2, 1, **own)
        values = spec.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        folder = self.root / "models/shop"
        for path in (folder / "sql", self.root / "conf", self.root / "expectations"):
            path.mkdir(parents=True, exist_ok=True)
        (folder / "model.yaml").write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
        (self.root / "conf/local.yaml").write_text("{}\n")
        for name, text in (("contract", CONTRACT), ("features", FEATURES), ("labels", LABELS)):
            (folder / "sql" / f"{name}.sql").write_text(text)

    @property
    def project(self) -> Project:
        return load_project("shop", root=self.root, environment="local")

    @property
    def lake(self) -> Lake:
        return Lake.of(self.project.environment)

    def context(self, run_id: str = "one", **options: Any) -> RunContext:
        return RunContext(self.project, DAY, run_id, RunOptions(**options))

    def put_raw(self, state: int) -> None:
        """Replaces the raw file, as a delivery does."""
        target = self.root / "models/shop/orders.csv"
        new = target.with_suffix(".new")
        new.write_text(raw_text(state))
        new.replace(target)

    @staticmethod
    def ref(number: int, package: Package) -> ModelRef:
        return ModelRef(name="shop", version=number, digest=package.digest, trained_through=date(2024, 1, 31))

    # --- the writers -------------------------------------------------------------------------------------------

    def ingest(self) -> None:
        project = self.project
        ingest(project, Lake.of(project.environment), DAY, DAY)

    def gate(self) -> None:
        """A report of the day gate about the day as it stands."""
        project = self.project
        lake = Lake.of(project.environment)
        with suppress(InputError):
            run_id = day_subject(input_version(lake, project.spec, DAY))
            report_day(lake, project.spec, DAY, run_id=run_id, at=NOW)

    def step(self, name: str, run_id: str = "one", **options: Any) -> dict[str, Any]:
        return run_step(self.context(run_id, **options), name)

    def score(self, run_id: str = "one", **options: Any) -> dict[str, Any]:
        return self.step("score", run_id, **options)

    def promote(
        self, number: int, *, reason: str = "better", effective_from: date = DAY, recorded_at: datetime = NOW
    ) -> Any:
        """The same request whenever it is called with the same arguments."""
        project = self.project
        lake = Lake.of(project.environment)
        log = PromotionLog(lake, project.spec)
        entries = log.entries()
        package = PackageCache(Path(project.environment.storage.cache))
        digests = {row["model_version"]: row["package_digest"] for row in lake.read("shop__versions").to_pylist()}
        ref = self.ref(number, package.get(digests[number]))
        champion = log.champion_on(effective_from) if entries else None
        against = champion.package_digest if champion is not None else NO_CHAMPION
        judges = {JUDGED_AGAINST: against, JUDGED_BY: project.spec.gates.identity().current}
        quality = tuple(Check(name=name, verdict=Verdict.PASS, observed=seen) for name, seen in judges.items())
        reports = tuple(
            GateReport(gate=gate, model="shop", subject=ref.digest, checks=checks)
            for gate, checks in (("quality", quality), ("operations", (Check(name="all", verdict=Verdict.PASS),)))
        )
        decision = Decision(
            model="shop", candidate_version=number, candidate_digest=ref.digest, reports=reports, approver="me",
            reason=reason,
        )  # fmt: skip
        return promote(project, lake, decision, ref, effective_from=effective_from, recorded_at=recorded_at)

    def rollback(self, *, reason: str = "bad", effective_from: date = DAY) -> Any:
        project = self.project
        request = RollbackRequest(effective_from=effective_from, reason=reason, approver="me", recorded_at=NOW)
        return rollback(project, Lake.of(project.environment), request)

    # --- what stands --------------------------------------------------------------------------------------------

    def states(self, table: str) -> list[int]:
        """The raw states that the rows of a table come from; one, unless it is a mixture."""
        rows = self.lake.read(f"shop__{table}").to_pylist() if self.lake.find(f"shop__{table}") is not None else []
        return sorted({STATE_OF[table](row) for row in rows})

    def tallies(self) -> list[Any]:
        """The manifests of the day in the order of their commits."""
        table = self.lake.find("shop__scores")
        return [] if table is None else [tally.manifest for tally in logged_tallies(self.lake, table, DAY)][::-1]

    def rows(self, table: str) -> list[dict[str, Any]]:
        return [] if self.lake.find(f"shop__{table}") is None else self.lake.read(f"shop__{table}").to_pylist()


STATE_OF: Mapping[str, Callable[[dict[str, Any]], int]] = {
    "features": lambda row: int(row["x0"] // 10),
    "labels": lambda row: row["label_time"].hour,
    "quarantine": lambda row: int(row["reason"].removeprefix("bad ")),
}
NEXT = DAY + timedelta(days=1)
