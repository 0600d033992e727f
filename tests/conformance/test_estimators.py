"""A model of each estimator has the same bits on every engine: sets of categories and nulls in splits, a ready file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from shared import shared
from synthetic import make_features, make_package, make_spec

from tallywright.packaging.package import Package, PackageContents, write_package
from tallywright.spec.sections import Training

from .conftest import every_way
from .test_engines import same_bits

FEATURES = make_features(1500, seed=3)
ESTIMATORS = {
    "lightgbm": {"kind": "lightgbm", "rounds": 60, "params": {"max_cat_to_onehot": 1, "min_data_per_group": 5}},
    "xgboost": {"kind": "xgboost", "rounds": 60},
    "forest": {
        "kind": "sklearn", "path": "sklearn.ensemble.RandomForestClassifier",
        "params": {"n_estimators": 60, "max_depth": 8, "random_state": 1},
    },
    "pipeline": {
        "kind": "sklearn", "path": "sklearn.pipeline.Pipeline", "inputs": "normalised",
        "params": {"steps": [
            ["scaler", {"path": "sklearn.preprocessing.StandardScaler"}],
            ["model", {"path": "sklearn.linear_model.LogisticRegression"}],
        ]},
    },
    "onnx": {"kind": "onnx", "file": "model.onnx"},
}  # fmt: skip
"""What a team brings, by name; `onnx` is the graph of another one as a ready file."""


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Package]:
    """Makes a package with a model of an estimator, once."""
    pytest.importorskip("lightgbm")

    @cache
    def package(name: str) -> Package:
        folder = tmp_path_factory.mktemp(name)
        plain = make_package(folder / "network")
        (batch,) = make_features(2000, seed=7).combine_chunks().to_batches()
        inputs = plain.preprocess.transform(batch)
        if name == "onnx":
            (folder / "model.onnx").write_bytes(package("xgboost").read("model.onnx"))
        made = write_package(
            folder / name,
            PackageContents(
                meta=plain.meta,
                preprocess=plain.preprocess,
                onnx=fitted_graph(name, folder, plain, inputs.numeric, inputs.categorical),
                weights={},
                definition=plain.definition,
                reference=plain.reference,
                parity=plain.parity(),
            ),
        )
        shared(made.folder)
        return made

    return package


def fitted_graph(name: str, folder: Path, package: Package, numeric: np.ndarray, categorical: np.ndarray) -> bytes:
    """The graph that an estimator has learned from some rows, or the one that it has read."""
    from tallywright.training.estimators.protocol import FitTask
    from tallywright.training.estimators.registry import make
    from tallywright.training.matrices import Rows
    from tallywright.training.objective import learn_objective

    columns = make_spec().training
    estimator = dict(ESTIMATORS[name])
    if name == "onnx":
        estimator["categories"] = {one.column: list(one.categories) for one in package.preprocess.categorical}
    spec = Training.model_validate(
        {"numeric": columns.numeric, "categorical": columns.categorical, "estimator": estimator}
    )
    signal = np.nan_to_num(numeric[:, 0], posinf=0, neginf=0) + np.isnan(numeric[:, 1]) + (categorical[:, 0] % 2)
    target = (signal + np.random.default_rng(1).normal(size=len(signal)) > 0.5).astype(np.int64)
    rows = Rows(np.ascontiguousarray(numeric), np.ascontiguousarray(categorical), target)
    task = FitTask(
        objective=learn_objective("binary", target, "none"),
        train=rows,
        validation=None,
        codes=tuple(int(codes) + 1 for codes in categorical.max(axis=0)),
        rounds=60,
        configuration="",
        checkpoint=Path(),
        doing=lambda _what, _limit: None,
    )
    project = SimpleNamespace(spec=SimpleNamespace(training=spec), folder=folder)
    return make(project, spec.estimators[0]).fit(task).graph


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(*one.values, id=one.id, marks=[*one.marks, *[pytest.mark.long] * (not one.values[0].quick)])
        for one in every_way()
    ],
    indirect=True,
)
def test_a_model_of_each_estimator_gives_the_same_bits(bench, made, estimator) -> None:
    bench = replace(bench, package=made(estimator))
    shuffled = FEATURES.take(np.random.default_rng(5).permutation(len(FEATURES)))
    rows, _ = bench.score([shuffled.slice(0, 1), shuffled.slice(1)], row_group_rows=333, batch_rows=256, workers=2)
    assert bench.pieces[-1] > 1
    same_bits(rows, bench.directly(FEATURES))
    assert len(set(rows["probability"].to_pylist())) > 500
