"""A toy project with real packages: linear models as ONNX graphs, on rows whose truth is known."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from tallywright.data.delta.lake import Lake
from tallywright.gates.day import day_gate
from tallywright.gates.validate import DayGates
from tallywright.packaging.linear import linear_onnx
from tallywright.packaging.manifest import runtime_requirements
from tallywright.packaging.package import PackageContents, PackageMeta, write_package
from tallywright.packaging.preprocess import Category, ModelInput, Preprocess
from tallywright.profiles.accumulate import Accumulator
from tallywright.profiles.profile import define
from tallywright.records import GateReport, InputVersion
from tallywright.spec import Project, load_project

if TYPE_CHECKING:
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
training: {target: late, numeric: [x], categorical: [colour], slices: [colour]}
gates: {floors: {roc_auc: {min: 0.6}}, min_holdout_rows: 100}
"""

COLOURS = ("blue", "red")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "models/toy").mkdir(parents=True)
    (tmp_path / "conf").mkdir()
    (tmp_path / "expectations").mkdir()
    (tmp_path / "models/toy/model.yaml").write_text(MODEL_YAML)
    (tmp_path / "conf/local.yaml").write_text("{}\n")
    return load_project("toy", root=tmp_path, environment="local")


@pytest.fixture
def lake(project: Project) -> Lake:
    return Lake.of(project.environment)


@pytest.fixture
def ingested(project, lake):
    """Puts a day into the feature table as ingest would."""

    def put(rows=200, seed=1, **changes) -> InputVersion:
        data = day_rows(rows, seed)
        for name, values in changes.items():
            data = (
                data.drop([name])
                if values is None
                else data.set_column(data.schema.get_field_index(name), name, values)
            )
        version = lake.replace("toy__features", data, slice={"score_date": DAY}, partition_by=["score_date"])
        return InputVersion(
            table="toy__features", score_date=DAY, version=version, fingerprint=f"{seed:08x}", rows=data.num_rows
        )

    return put


def judge_alone(project: Project, lake: Lake, judged: InputVersion) -> GateReport:
    """The day gate of one day that is no part of a range."""
    with DayGates() as gates:
        return day_gate(project, lake, judged, gates=gates)


def day_rows(rows: int, seed: int = 1) -> pa.Table:
    generator = np.random.default_rng(seed)
    moment = datetime(2013, 6, 1, 12, tzinfo=UTC)
    return pa.table(
        {
            "score_date": pa.array([DAY] * rows, pa.date32()),
            "id": pa.array([f"id{i}" for i in range(rows)], pa.string()),
            "score_moment": pa.array([moment] * rows, pa.timestamp("us", "UTC")),
            "x": pa.array(generator.normal(size=rows)),
            "colour": pa.array(np.array(COLOURS)[generator.integers(0, 2, rows)], pa.string()),
        }
    )


def holdout(rows: int = 4000, days: int = 20, seed: int = 2) -> pa.Table:
    """Rows whose label depends on x and, for red ones, on nothing else."""
    data = day_rows(rows, seed)
    generator = np.random.default_rng(seed + 1)
    x = np.asarray(data["x"])
    late = generator.uniform(size=rows) < 1 / (1 + np.exp(-1.5 * x))
    dates = [DAY + timedelta(days=i * days // rows) for i in range(rows)]
    return data.set_column(0, "score_date", pa.array(dates, pa.date32())).append_column(
        "late", pa.array(late.astype(float))
    )


@pytest.fixture
def package(tmp_path):
    """Makes a package: probability = logistic(weight * x + noise by colour)."""

    def make(name="a", weight=1.5, colours=(0.0, 0.0), *, bias=0.0, parity_shift=0.0, **meta):
        preprocess = Preprocess(numeric=("x",), categorical=(Category(column="colour", categories=COLOURS),))
        graph = linear_onnx(preprocess, [0.0], [1.0], [weight], [[0.0, 0.0, *colours]], bias)
        inputs = ModelInput(
            np.array([[-1.0], [0.0], [np.nan], [2.5]], np.float32), np.array([[2], [3], [0], [1]], np.int64)
        )
        logits = weight * np.nan_to_num(inputs.numeric[:, 0]) + bias
        logits = logits + np.array([0.0, 0.0, *colours])[inputs.categorical[:, 0]]
        expected = (1 / (1 + np.exp(-logits)) + parity_shift).astype(np.float32)
        definition = define({"x": np.linspace(-3, 3, 100)}, {"colour": COLOURS}, np.linspace(0.01, 0.99, 100), 10)
        accumulator = Accumulator(definition)
        accumulator.update(inputs.numeric, inputs.categorical, expected)
        values = {
            "model": "toy",
            "task": "binary",
            "target": "late",
            "key": ("id",),
            "trained_through": DAY - timedelta(days=1),
            "owner": "Toy owners",
            "requirements": runtime_requirements(),
            "created_at": NOW,
        }
        contents = PackageContents(
            meta=PackageMeta(**values | meta),
            preprocess=preprocess,
            onnx=graph,
            weights={"weight": np.array([weight], np.float32)},
            definition=definition,
            reference=accumulator.profile(),
            parity=(inputs, expected),
        )
        return write_package(tmp_path / "packages" / name, contents)

    return make
