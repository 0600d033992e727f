"""A small real package: a logistic model of three numbers and two texts, no training library involved."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
import pytest
from shared import shared

from tallywright.packaging.linear import linear_onnx
from tallywright.packaging.manifest import runtime_requirements
from tallywright.packaging.package import Package, PackageContents, PackageMeta, write_package
from tallywright.packaging.preprocess import fit_preprocess
from tallywright.profiles.accumulate import profile_rows
from tallywright.profiles.profile import define

META = PackageMeta(
    model="late",
    task="binary",
    target="late",
    key=("id",),
    trained_through=date(2013, 3, 1),
    run_id="0123",
    code_version="abc",
    owner="somebody",
    requirements=runtime_requirements(),
    evaluation={"model": {"roc_auc": 0.7}},
    created_at=datetime(2013, 3, 2, tzinfo=UTC),
)


@pytest.fixture(scope="session")
def rows() -> pa.RecordBatch:
    """5,000 rows with nulls, NaN, infinities and rare categories, plain types, a column that no model reads."""
    rng = np.random.default_rng(1)
    count = 5_000
    wind = rng.normal(size=count)
    wind[:3] = [np.nan, np.inf, -np.inf]
    carriers = rng.choice(["AA", "UA", "ÖS", "", "rare-1", "rare-2"], count, p=[0.4, 0.4, 0.1, 0.0996, 0.0002, 0.0002])
    return pa.record_batch(
        {
            "id": pa.array(range(count)),
            "wind": pa.array(wind, mask=rng.random(count) < 0.1),
            "distance": pa.array(rng.integers(90, 5000, count), mask=rng.random(count) < 0.1),
            "rate": pa.array(rng.random(count, dtype=np.float32)),
            "carrier": pa.array(carriers, mask=rng.random(count) < 0.1),
            "origin": pa.array(rng.choice(["EWR", "JFK", "LGA"], count)),
        }
    )


@pytest.fixture(scope="session")
def contents(rows: pa.RecordBatch) -> PackageContents:
    preprocess = fit_preprocess(
        pa.Table.from_batches([rows]), ["wind", "distance", "rate"], ["carrier", "origin"], min_category_rows=50
    )
    tables = [np.linspace(-1, 1, len(category.categories) + 2) for category in preprocess.categorical]
    onnx = linear_onnx(preprocess, [0, 2500, 0.5], [1, 1400, 0.3], [0.7, -0.4, 0.2], tables, -0.3)
    inputs = preprocess.transform(rows)
    session = onnxruntime.InferenceSession(onnx)
    matrices = {name: np.ascontiguousarray(getattr(inputs, name)) for name in ("numeric", "categorical")}
    (scores,) = session.run(["score"], matrices)
    numeric = {name: inputs.numeric[:, index] for index, name in enumerate(preprocess.numeric)}
    definition = define(numeric, preprocess.categories, scores, 20)
    return PackageContents(
        meta=META,
        preprocess=preprocess,
        onnx=onnx,
        weights={"weights": np.array([0.7, -0.4, 0.2], dtype=np.float32)},
        definition=definition,
        reference=profile_rows(definition, inputs.numeric, inputs.categorical, scores),
        parity=(inputs.take(slice(0, 200)), scores[:200]),
        features={"features.sql": "select 1\n"},
    )


@pytest.fixture(scope="session")
def package(contents: PackageContents, tmp_path_factory: pytest.TempPathFactory) -> Package:
    """One package for all tests that only read it."""
    written = write_package(tmp_path_factory.mktemp("packages") / "late", contents)
    shared(written.folder)
    return written


@pytest.fixture
def own_package(contents: PackageContents, tmp_path: Path) -> Package:
    """A package that a test may spoil; equal in content to `package`."""
    return write_package(tmp_path / "late", replace(contents))
