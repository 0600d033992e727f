"""Forests of folds combined by mean rank: one graph, to the same bits in any batch, equal to the library's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tallywright.errors import InputError, SpecError
from tallywright.metrics import calibration_error, roc_auc
from tallywright.spec.sections import Training
from tallywright.training.estimators.model_graph import GraphParts
from tallywright.training.estimators.protocol import FitTask, Fitted
from tallywright.training.estimators.rank_tables import PiecewiseLinear, calibration_table, rank_table
from tallywright.training.estimators.registry import make
from tallywright.training.estimators.sklearn import folds as sklearn_folds
from tallywright.training.matrices import Rows
from tallywright.training.objective import learn_objective

FOREST = {
    "kind": "sklearn", "path": "sklearn.ensemble.RandomForestClassifier", "folds": 5, "class_weight": "balanced",
    "params": {"n_estimators": 25, "max_depth": 40, "min_samples_split": 20},
}  # fmt: skip
VALUES = {
    "task": "binary", "target": "y", "numeric": ["a", "b", "c"], "categorical": ["k"], "window_days": 10,
    "validation_days": 2,
}  # fmt: skip
CODES = (5,)


def session_of(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def scores(graph: bytes, rows: Rows, batch: int | None = None) -> np.ndarray:
    session, count = session_of(graph), len(rows.target)
    parts = [slice(first, first + (batch or count)) for first in range(0, count, batch or count)]
    return np.concatenate([
        session.run(["score"], {"numeric": rows.numeric[part], "categorical": rows.categorical[part]})[0]
        for part in parts
    ])  # fmt: skip


@pytest.fixture
def fitted(rows) -> Callable[..., tuple[Fitted, FitTask]]:
    def fit(count: int = 1500, section: dict[str, Any] = FOREST, **changes: Any) -> tuple[Fitted, FitTask]:
        spec = Training.model_validate(VALUES | {"estimator": section})
        estimator = make(SimpleNamespace(spec=SimpleNamespace(training=spec), folder=Path()), spec.estimators[0])
        train = rows(count=count)
        task = FitTask(
            objective=learn_objective("binary", train.target, estimator.class_weight), train=train,
            validation=rows(count=600, seed=2), codes=CODES, rounds=None, configuration="one", checkpoint=Path(),
            doing=lambda _what, _limit: None,
        )  # fmt: skip
        task = replace(task, **changes)
        return estimator.fit(task), task

    return fit


@pytest.mark.parametrize("knots", [1, 2, 3, 700])
def test_a_table_in_a_graph_is_the_table(knots: int) -> None:
    random = np.random.default_rng(knots)
    places = np.unique(random.random(knots).astype(np.float32))
    table = PiecewiseLinear(places, np.sort(random.random(len(places))))
    parts = GraphParts(1, 0)
    parts.one_column(table.nodes(parts, parts.plain_matrix(), "found"))
    session = session_of(parts.model(1))
    numbers = np.concatenate([places, np.nextafter(places, np.float32(-1)), random.random(500), [-1, 2]])
    numbers = numbers.astype(np.float32)
    (found,) = session.run(["score"], {"numeric": numbers[:, None]})
    assert found == pytest.approx(table(numbers.astype(np.float64)), abs=3e-7)


def test_ranks_are_shares_of_the_reference_that_lie_below() -> None:
    reference = np.random.default_rng(1).normal(size=5000) ** 3
    table = rank_table(reference, 1024)
    assert len(table.knots) <= 1024
    numbers = np.quantile(reference, [0.001, 0.1, 0.5, 0.9, 0.999])
    assert table(numbers) == pytest.approx([0.001, 0.1, 0.5, 0.9, 0.999], abs=0.002)
    assert table(np.array([-1e9, 1e9])) == pytest.approx([0.0, 1.0], abs=0.001)
    tied = rank_table(np.array([0.2, 0.2, 0.2, 0.4]), 1024)
    assert tied(np.array([0.2, 0.4])) == pytest.approx([1.5 / 4, 3.5 / 4])


def test_a_calibration_never_falls() -> None:
    random = np.random.default_rng(2)
    ranks = random.random(4000)
    table = calibration_table(ranks, (random.random(4000) < 0.5 * ranks).astype(float), 20)
    assert (np.diff(table.values) >= 0).all()
    assert table(np.array([0.2, 0.5, 0.8])) == pytest.approx([0.1, 0.25, 0.4], abs=0.05)
    constant = calibration_table(np.full(50, 0.5), np.r_[np.ones(10), np.zeros(40)], 20)
    assert constant(np.array([0.0, 0.5, 1.0])) == pytest.approx([0.2, 0.2, 0.2])


def test_the_graph_scores_as_the_library_does_and_to_the_same_bits_in_any_batch(fitted, rows) -> None:
    found, _ = fitted()
    given = rows(count=900, seed=3)
    given.numeric[::7, 0] = np.nan
    given.numeric[3, 1], given.categorical[::11] = np.inf, 1
    whole = scores(found.graph, given)
    assert whole.dtype == np.float32
    assert whole == pytest.approx(found.predict(given), abs=1e-5)
    for batch in (1, 7, 256):
        assert scores(found.graph, given, batch).tobytes() == whole.tobytes()


def test_scores_are_probabilities_though_the_weights_were_balanced(fitted, rows) -> None:
    found, _ = fitted(4000)
    test = rows(count=4000, seed=4)
    score = scores(found.graph, test)
    assert roc_auc(test.target, score) > 0.8
    assert calibration_error(test.target, score) < 0.05


def test_the_same_rows_give_the_same_bytes(fitted) -> None:
    assert fitted(600)[0].graph == fitted(600)[0].graph


def test_a_refit_calibrates_on_the_newest_rows_and_learns_from_the_others(fitted, monkeypatch) -> None:
    seen: list[int] = []

    shares_of = sklearn_folds.shares_of

    def watched(forest: Any, rows: Rows) -> np.ndarray:
        seen.append(len(rows.target))
        return shares_of(forest, rows)

    monkeypatch.setattr(sklearn_folds, "shares_of", watched)
    fitted(1000, validation=None)
    assert seen == [180] * 5 + [100] * 5  # each fold's own rows, and then what is left for the calibration


def test_only_the_newest_rows_are_learnt_from(fitted) -> None:
    found, task = fitted(1500, FOREST | {"max_rows": 500})
    alike, _ = fitted(1500, train=sklearn_folds.newest(task.train, 500))
    assert alike.graph == found.graph != fitted(1500)[0].graph


@pytest.mark.parametrize(
    ("estimator", "task", "said"),
    [
        ({"path": "sklearn.linear_model.LogisticRegression"}, "binary", "folds are for sklearn.ensemble.RandomForest"),
        ({"inputs": "normalised"}, "binary", "trees need no normalised columns"),
        ({}, "multiclass", "`folds` means nothing to the task multiclass"),
    ],
)
def test_what_has_no_ranks_is_refused_in_the_spec(estimator: dict[str, str], task: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Training.model_validate(VALUES | {"task": task, "estimator": FOREST | estimator})


def test_too_few_rows_of_a_class_are_refused(fitted, rows) -> None:
    train = rows(count=300)
    train.target[:] = 0
    train.target[:3] = 1
    with pytest.raises(InputError, match="a class has 3 training rows"):
        fitted(train=train)


def test_a_forest_that_no_package_can_hold_is_refused(fitted, monkeypatch) -> None:
    monkeypatch.setattr(sklearn_folds, "MOST_BYTES", 1000)
    with pytest.raises(SpecError, match=r"as a graph(?s:.)*raise min_samples_split"):
        fitted(400)
