"""A project with one registered version: a logistic model of a number, a whole number and a text, and a Python file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from synthetic import make_project

from tallywright.cli.main import tally
from tallywright.data.delta.lake import Lake
from tallywright.packaging.linear import linear_onnx
from tallywright.packaging.manifest import runtime_requirements
from tallywright.packaging.package import Package, PackageCache, PackageContents, PackageMeta, write_package
from tallywright.packaging.predictor import Predictor
from tallywright.packaging.preprocess import Category, Preprocess
from tallywright.profiles.accumulate import profile_rows
from tallywright.profiles.profile import define
from tallywright.records import ModelRef
from tallywright.registry.evidence import evidence_of
from tallywright.registry.versions_table import record_version

NOW = datetime(2024, 4, 1, tzinfo=UTC)
COLOURS = ("blue", "red", "赤")
TYPES = {"x": pa.float64(), "count": pa.int64(), "colour": pa.string()}


def some_rows(count: int = 3_000) -> pa.RecordBatch:
    """Rows with nulls, infinities and a category that nobody knows, and a column that no model reads."""
    random = np.random.default_rng(5)
    x = random.normal(size=count)
    x[:2] = [np.inf, -np.inf]
    return pa.record_batch(
        {
            "id": pa.array(range(count)),
            "colour": pa.array(random.choice([*COLOURS, "new"], count), mask=random.random(count) < 0.1),
            "x": pa.array(x, mask=random.random(count) < 0.1),
            "count": pa.array(random.integers(0, 9, count), mask=random.random(count) < 0.1),
        }
    )


def write_version(folder: Path) -> Package:
    preprocess = Preprocess(numeric=("x", "count"), categorical=(Category(column="colour", categories=COLOURS),))
    inputs = preprocess.transform(some_rows(200))
    scores = np.linspace(0, 1, 200, dtype=np.float32)
    definition = define({"x": inputs.numeric[:, 0], "count": inputs.numeric[:, 1]}, {"colour": COLOURS}, scores, 10)
    meta = PackageMeta(
        model="shop",
        task="binary",
        target="label",
        key=("order_id",),
        trained_through=date(2024, 1, 31),
        owner="Shop",
        threshold=0.4,
        requirements=runtime_requirements(),
        created_at=NOW,
    )

    def contents(expected: np.ndarray) -> PackageContents:
        return PackageContents(
            meta=meta,
            preprocess=preprocess,
            onnx=linear_onnx(preprocess, [0.0, 4.0], [1.0, 2.0], [1.5, -0.5], [[0.0, 0.1, -0.3, 0.4, 0.9]], 0.2),
            weights={"weight": np.array([1.5, -0.5], np.float32)},
            definition=definition,
            reference=profile_rows(definition, inputs.numeric, inputs.categorical, scores),
            parity=(inputs, expected),
            features={"features.sql": "select 1\n", "helper.py": "answer = 42\n"},
            types=TYPES,
        )

    draft = write_package(folder.with_name("draft"), contents(scores))
    return write_package(folder, contents(Predictor(draft).score(inputs)))


@dataclass(frozen=True)
class Shop:
    """The project with its one version."""

    root: Path
    package: Package

    def tally(self, *arguments: str) -> dict:
        """What `tally package shop …` answers as JSON; raises what it raises."""
        done = CliRunner().invoke(tally, ["package", "shop", *arguments, "--root", str(self.root), "--json"])
        if done.exception is not None:
            raise done.exception
        return json.loads(done.stdout)


@pytest.fixture
def shop(tmp_path) -> Shop:
    project = make_project(tmp_path / "project")
    package = write_version(tmp_path / "written")
    PackageCache(tmp_path / "project" / project.environment.storage.cache).put(package.folder)
    ref = ModelRef(name="shop", version=3, digest=package.digest, trained_through=date(2024, 1, 31))
    record_version(
        Lake.of(project.environment), project.spec, ref, evidence_of("shop", ref.digest, ()), recorded_at=NOW
    )
    return Shop(tmp_path / "project", package)
