"""A small model project in a folder of its own, and decisions about its versions."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tallywright.data.delta.lake import Lake
from tallywright.packaging.linear import linear_onnx
from tallywright.packaging.package import Package, PackageContents, PackageMeta, write_package
from tallywright.packaging.preprocess import Category, ModelInput, Preprocess
from tallywright.profiles.accumulate import Accumulator
from tallywright.profiles.profile import define
from tallywright.records import JUDGED_AGAINST, JUDGED_BY, NO_CHAMPION, Check, Decision, GateReport, ModelRef, Verdict
from tallywright.spec import Project, load_project
from tallywright.spec.sections import Gates

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DAY = date(2013, 6, 1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)

MODEL_YAML = """
name: toy
description: A toy.
owner: {name: Toy owners, email: toys@example.com}
schedule: {start_date: 2013-01-01}
data:
  sources: {raw: {path: raw.csv}}
  key: [id]
  columns: {id: VARCHAR, score_moment: TIMESTAMP, x: DOUBLE, colour: VARCHAR}
training: {target: late, numeric: [x], categorical: [colour]}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "models/toy").mkdir(parents=True)
    (tmp_path / "conf").mkdir()
    (tmp_path / "models/toy/model.yaml").write_text(MODEL_YAML)
    (tmp_path / "conf/local.yaml").write_text("{}\n")
    return load_project("toy", root=tmp_path, environment="local")


@pytest.fixture
def lake(project: Project) -> Lake:
    return Lake.of(project.environment)


def reference(version: int, trained_through: date | None = DAY - timedelta(days=30)) -> ModelRef:
    return ModelRef(name="toy", version=version, digest=f"{version:064x}", trained_through=trained_through)


def decision(ref: ModelRef, champion: ModelRef | None = None, **changes: object) -> Decision:
    against = champion.digest if champion is not None else NO_CHAMPION
    values = {
        "model": "toy",
        "candidate_version": ref.version,
        "candidate_digest": ref.digest,
        "reports": (report(ref, "quality", against=against), report(ref, "operations")),
        "approver": "policy",
        "reason": "all gates passed",
    }
    return Decision(**values | changes)


def report(
    ref: ModelRef, gate: str, verdict: Verdict = Verdict.PASS, *, against: str = NO_CHAMPION, **changes: object
) -> GateReport:
    judges = {JUDGED_AGAINST: against, JUDGED_BY: Gates().identity().first} if gate == "quality" else {}
    checks = (
        Check(name="roc_auc", verdict=verdict),
        *(Check(name=name, verdict=Verdict.PASS, observed=seen) for name, seen in judges.items()),
    )
    return GateReport(**{"gate": gate, "model": "toy", "subject": ref.digest, "checks": checks} | changes)


@pytest.fixture
def package(tmp_path: Path) -> Callable[..., Package]:
    """Makes a real package: probability = logistic(weight * x)."""

    def make(name: str = "a", weight: float = 1.5) -> Package:
        preprocess = Preprocess(numeric=("x",), categorical=(Category(column="colour", categories=("blue", "red")),))
        graph = linear_onnx(preprocess, [0.0], [1.0], [weight], [[0.0, 0.0, 0.0, 0.0]], 0.0)
        inputs = ModelInput(np.array([[-1.0], [2.5]], np.float32), np.array([[2], [3]], np.int64))
        scores = (1 / (1 + np.exp(-weight * inputs.numeric[:, 0]))).astype(np.float32)
        definition = define({"x": np.linspace(-3, 3, 100)}, {"colour": ("blue", "red")}, np.linspace(0, 1, 100), 10)
        accumulator = Accumulator(definition)
        accumulator.update(inputs.numeric, inputs.categorical, scores)
        meta = PackageMeta(
            model="toy",
            task="binary",
            target="late",
            trained_through=DAY - timedelta(days=1),
            owner="Toy owners",
            created_at=NOW,
        )
        contents = PackageContents(
            meta=meta,
            preprocess=preprocess,
            onnx=graph,
            weights={"weight": np.array([weight], np.float32)},
            definition=definition,
            reference=accumulator.profile(),
            parity=(inputs, scores),
        )
        return write_package(tmp_path / "packages" / name, contents)

    return make
