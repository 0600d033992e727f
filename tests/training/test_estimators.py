"""Each estimator on each task: the graph scores as the library does, and the same data give the same bytes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from tallywright.errors import InputError, SpecError
from tallywright.spec.sections import Training
from tallywright.training.estimators.protocol import FitTask
from tallywright.training.estimators.registry import make
from tallywright.training.matrices import Rows
from tallywright.training.objective import learn_objective

for package in ("lightgbm", "xgboost", "skl2onnx"):
    pytest.importorskip(package)
pytestmark = pytest.mark.slow

CODES = (5,)
BOOSTED = {"rounds": 60, "patience": 10, "learning_rate": 0.2}
SETS = {"max_cat_to_onehot": 1}
"""Splits by sets of categories, however few there are."""
FOREST = {"n_estimators": 20, "min_samples_leaf": 5}
LIGHTGBM = {"kind": "lightgbm", **BOOSTED, "params": {**SETS, "min_data_per_group": 5, "cat_smooth": 1.0}}
XGBOOST = {"kind": "xgboost", **BOOSTED, "params": SETS}


def sklearn(path: str, **values) -> dict:
    return {"kind": "sklearn", "path": path} | values


EVERY = {
    "lightgbm": dict.fromkeys(("binary", "multiclass", "regression"), LIGHTGBM),
    "xgboost": dict.fromkeys(("binary", "multiclass", "regression"), XGBOOST),
    "forest": {
        **dict.fromkeys(("binary", "multiclass"), sklearn("sklearn.ensemble.RandomForestClassifier", params=FOREST)),
        "regression": sklearn("sklearn.ensemble.RandomForestRegressor", params=FOREST),
    },
    "histogram": {
        **dict.fromkeys(
            ("binary", "multiclass"),
            sklearn("sklearn.ensemble.HistGradientBoostingClassifier", params={"categorical_features": [3]}),
        ),
        "regression": sklearn("sklearn.ensemble.HistGradientBoostingRegressor"),
    },
    "boosting": {
        **dict.fromkeys(
            ("binary", "multiclass"),
            sklearn("sklearn.ensemble.GradientBoostingClassifier", inputs="normalised", params={"n_estimators": 20}),
        ),
        "regression": sklearn("sklearn.ensemble.GradientBoostingRegressor", inputs="normalised"),
    },
    "linear": {
        **dict.fromkeys(
            ("binary", "multiclass"), sklearn("sklearn.linear_model.LogisticRegression", inputs="normalised")
        ),
        "regression": sklearn("sklearn.linear_model.Ridge", inputs="normalised"),
    },
    "boosted by scikit-learn's interface": {
        "binary": sklearn("lightgbm.LGBMClassifier", params={"n_estimators": 30, "num_leaves": 7}),
        "multiclass": sklearn("xgboost.XGBClassifier", params={"n_estimators": 10, "max_depth": 3}),
        "regression": sklearn("xgboost.XGBRegressor", params={"n_estimators": 30, "max_depth": 3}),
    },
    "the other way round": {
        "binary": sklearn("xgboost.XGBClassifier", params={"n_estimators": 30, "max_depth": 3}),
        "multiclass": sklearn("lightgbm.LGBMClassifier", params={"n_estimators": 10, "num_leaves": 7}),
        "regression": sklearn("lightgbm.LGBMRegressor", params={"n_estimators": 30, "num_leaves": 7}),
    },
    "converted": {
        **dict.fromkeys(
            ("binary", "multiclass"),
            sklearn(
                "sklearn.pipeline.Pipeline",
                params={
                    "steps": [
                        ["impute", {"path": "sklearn.impute.SimpleImputer"}],
                        ["scale", {"path": "sklearn.preprocessing.StandardScaler"}],
                        ["model", {"path": "sklearn.linear_model.LogisticRegression", "params": {"C": 0.5}}],
                    ]
                },
            ),
        ),
        "regression": sklearn("sklearn.svm.SVR", inputs="normalised"),
    },
}


@pytest.fixture
def prepare(rows):
    """An estimator and its task; keyword arguments change the spec."""

    def build(section, task="binary", folder=Path(), count=700, **training):
        values = {
            "task": task, "target": "y", "numeric": ["a", "b", "c"], "categorical": ["k"], "window_days": 10,
            "validation_days": 2, "estimator": section,
        }  # fmt: skip
        spec = Training.model_validate(values | training)
        project = SimpleNamespace(spec=SimpleNamespace(training=spec), folder=folder)
        estimator = make(project, spec.estimators[0])
        train = rows(task, count=count)
        return estimator, FitTask(
            objective=learn_objective(task, train.target, estimator.class_weight),
            train=train,
            validation=rows(task, seed=2),
            codes=CODES,
            rounds=None,
            configuration="one",
            checkpoint=folder / "checkpoint",
            doing=lambda _what, _limit: None,
        )

    return build


def scores(graph: bytes, given: Rows) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    assert [(one.name, one.type) for one in session.get_inputs()] == [
        ("numeric", "tensor(float)"), ("categorical", "tensor(int64)")
    ]  # fmt: skip
    return session.run(["score"], {"numeric": given.numeric, "categorical": given.categorical})[0]


def strange(given: Rows) -> Rows:
    """Rows as production has them: nulls where the training had none, infinities, zeros, codes that were never seen."""
    made, numeric, codes = np.random.default_rng(4), given.numeric.copy(), given.categorical.copy()
    numeric[made.random(numeric.shape) < 0.2] = np.nan
    numeric[:3, 0] = [np.inf, -np.inf, 0]
    numeric[3] = np.nan
    codes[:2] = [[0], [1]]
    return Rows(numeric, codes, given.target)


def every_one() -> list:
    """Every estimator with every task; the usual ones are tried always."""
    usual = {"lightgbm", "xgboost", ("forest", "binary"), ("histogram", "binary"), ("converted", "binary")}
    return [
        pytest.param(name, task, marks=[] if {name, (name, task)} & usual else [pytest.mark.long])
        for name, tasks in EVERY.items()
        for task in tasks
    ]


@pytest.mark.parametrize(("name", "task"), every_one())
def test_the_graph_scores_as_the_library_does(prepare, rows, name, task):
    estimator, fit = prepare(EVERY[name][task], task)
    fitted = estimator.fit(fit)
    scale = max(1.0, float(np.abs(fit.train.target).max())) if task == "regression" else 1.0
    for given in (fit.train, rows(task, count=2000, seed=3), strange(rows(task, count=500, seed=5))):
        own, ours = np.asarray(fitted.predict(given)), scores(fitted.graph, given)
        assert ours.shape == ((len(given.target), 3) if task == "multiclass" else (len(given.target),))
        # No row is on another side of a threshold: all differ by rounding alone.
        assert np.abs(own - ours).max() < 1e-5 * scale
    unseen = rows(task, count=2000, seed=3)
    found = scores(fitted.graph, unseen)
    if task == "regression":
        assert np.corrcoef(found, unseen.target)[0, 1] > 0.6
    else:
        predicted = found.argmax(axis=1) if task == "multiclass" else found > 0.5
        assert (predicted == unseen.target).mean() > max(np.bincount(unseen.target)) / len(found) + 0.04


@pytest.mark.parametrize(
    "name", ["lightgbm", "xgboost", "forest", pytest.param("histogram", marks=pytest.mark.long), "converted"]
)
def test_the_same_task_gives_the_same_bytes(prepare, name):
    estimator, fit = prepare(EVERY[name]["binary"])
    first = estimator.fit(fit)
    assert estimator.fit(fit).graph == first.graph


def test_another_seed_gives_another_forest(prepare):
    graphs = []
    for seed in (7, 8):
        estimator, fit = prepare(EVERY["forest"]["binary"], seed=seed)
        graphs.append(estimator.fit(fit).graph)
    assert graphs[0] != graphs[1]


@pytest.mark.parametrize("name", ["lightgbm", "xgboost"])
def test_early_stopping_chooses_the_rounds_and_a_fit_for_so_many_is_the_same(prepare, name):
    estimator, fit = prepare(EVERY[name]["binary"])
    chosen = estimator.fit(fit)
    losses = chosen.curves["validation_loss"]
    assert 1 <= chosen.rounds == int(np.argmin(losses)) + 1 < BOOSTED["rounds"]
    assert len(losses) == len(chosen.curves["train_loss"]) == chosen.rounds + BOOSTED["patience"]
    refitted = estimator.fit(replace(fit, validation=None, rounds=chosen.rounds))
    assert (refitted.graph, refitted.rounds) == (chosen.graph, chosen.rounds)
    assert "validation_loss" not in refitted.curves


def test_lightgbm_gives_the_same_bytes_on_any_number_of_threads(prepare, monkeypatch):
    from tallywright.training.estimators import lightgbm_trees

    estimator, fit = prepare({"kind": "lightgbm", "rounds": 5}, count=3000)
    graphs = []
    for threads in (1, 2):
        monkeypatch.setattr(lightgbm_trees, "threads_for", lambda _, count=threads: count)
        graphs.append(estimator.fit(fit).graph)
    assert graphs[0] == graphs[1]


@pytest.mark.parametrize(
    "section",
    [
        pytest.param({"kind": "lightgbm", "rounds": 100, "learning_rate": 0.05}, id="lightgbm", marks=pytest.mark.long),
        pytest.param(
            {"kind": "xgboost", "rounds": 100, "learning_rate": 0.05, "params": {"max_depth": 3}},
            id="xgboost",
            marks=pytest.mark.long,
        ),
        pytest.param(
            sklearn("sklearn.ensemble.RandomForestClassifier", params={"n_estimators": 30, "min_samples_leaf": 20}),
            id="forest",
        ),
        pytest.param(sklearn("sklearn.linear_model.LogisticRegression", inputs="normalised"), id="linear"),
    ],
)
def test_balanced_classes_still_give_calibrated_probabilities(prepare, section):
    means = {}
    for weight in ("none", "balanced"):
        estimator, fit = prepare(section | {"class_weight": weight}, count=3000)
        rare = fit.train.target & (np.arange(3000) % 4 == 0)
        fit = replace(fit, train=replace(fit.train, target=rare), objective=learn_objective("binary", rare, weight))
        fitted = estimator.fit(replace(fit, validation=replace(fit.train)))
        means[weight] = found = scores(fitted.graph, fit.train)
        assert np.abs(np.asarray(fitted.predict(fit.train)) - found).max() < 1e-5
        assert abs(found.mean() - rare.mean()) < 0.03, weight
    assert np.abs(means["none"] - means["balanced"]).max() > 1e-3


@pytest.mark.parametrize("kind", ["lightgbm", pytest.param("xgboost", marks=pytest.mark.long)])
def test_a_monotone_column_only_raises_or_only_lowers_the_score(prepare, kind):
    for direction in (1, -1):
        estimator, fit = prepare({"kind": kind, "rounds": 40, "monotone": {"a": direction}})
        graph = estimator.fit(fit).graph
        grid = np.linspace(-3, 3, 50, dtype=np.float32)
        for row in range(10):
            numeric = np.repeat(fit.train.numeric[row : row + 1], 50, axis=0)
            numeric[:, 0] = grid
            along = scores(graph, Rows(numeric, np.repeat(fit.train.categorical[row : row + 1], 50, axis=0), grid))
            assert (np.diff(along) * direction >= 0).all()


@pytest.mark.parametrize(
    "section",
    [
        {"kind": "lightgbm", "rounds": 30, "params": {"objective": "poisson"}},
        {"kind": "xgboost", "rounds": 30, "params": {"objective": "count:poisson"}},
        sklearn("sklearn.ensemble.HistGradientBoostingRegressor", params={"loss": "poisson", "max_iter": 30}),
    ],
    ids=["lightgbm", "xgboost", "histogram"],
)
def test_counts_are_learnt_on_their_own_scale(prepare, section):
    estimator, fit = prepare(section, "regression")
    counts = np.floor(np.exp((fit.train.target - 100) / 20)).astype(np.float64)
    fit = replace(fit, train=replace(fit.train, target=counts), validation=None, rounds=30)
    fitted = estimator.fit(replace(fit, objective=learn_objective("regression", counts, "none")))
    found = scores(fitted.graph, fit.train)
    assert (found > 0).all()
    assert found.mean() == pytest.approx(counts.mean(), rel=0.15)
    np.testing.assert_allclose(np.asarray(fitted.predict(fit.train)), found, rtol=2e-5)


def test_a_mean_that_has_no_logarithm_is_refused(prepare):
    estimator, fit = prepare({"kind": "xgboost", "params": {"objective": "reg:gamma"}}, "regression")
    with pytest.raises(InputError, match="mean of the training target is -"):
        estimator.fit(replace(fit, train=replace(fit.train, target=-fit.train.target)))


@pytest.mark.parametrize(
    ("section", "task", "told"),
    [
        (sklearn("sklearn.ensemble.RandomForestClassifer"), "binary", "there is no estimator sklearn.ensemble.Ra"),
        (sklearn("sklearn.utils.Bunch"), "binary", "there is no estimator"),
        (sklearn("sklearn.no.such.Thing"), "binary", "there is no estimator"),
        (sklearn("sklearn.ensemble.RandomForestRegressor"), "binary", "is no classifier with probabilities"),
        (sklearn("sklearn.svm.LinearSVC"), "binary", "is no classifier with probabilities"),
        (sklearn("sklearn.linear_model.LogisticRegression"), "regression", "is no regressor"),
        (sklearn("sklearn.tree.DecisionTreeClassifier", params={"max_dept": 3}), "binary", "did you mean 'max_depth'"),
        (sklearn("lightgbm.LGBMClassifier", params={"input_model": "x"}), "binary", "no parameter 'input_model'"),
        (sklearn("xgboost.XGBClassifier", params={"maxdepth": 3}), "binary", "did you mean 'max_depth'"),
        (sklearn("sklearn.pipeline.Pipeline", params={"steps": [], "memory": "x"}), "binary", "no parameter 'memory'"),
    ],
)
def test_what_is_no_estimator_of_the_task_is_refused_at_once(prepare, section, task, told):
    with pytest.raises(SpecError) as refused:
        prepare(section, task)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("section", "told"),
    [
        (sklearn("sklearn.linear_model.LogisticRegression"), "refuses to learn: ValueError: Input X contains NaN"),
        (
            sklearn("sklearn.ensemble.HistGradientBoostingClassifier", params={"learning_rate": -1.0}),
            "refuses to learn: InvalidParameterError",
        ),
        (
            sklearn("sklearn.semi_supervised.LabelSpreading", inputs="normalised", params={"kernel": "knn"}),
            "cannot be converted to ONNX",
        ),
        ({"kind": "lightgbm", "params": {"num_leaves": 1}}, "LightGBM refuses to learn"),
        ({"kind": "xgboost", "params": {"max_depth": -3}}, "XGBoost refuses to learn"),
        (
            sklearn("sklearn.neighbors.KNeighborsClassifier", inputs="normalised", class_weight="balanced"),
            "takes no weights of rows",
        ),
    ],
)
def test_what_cannot_be_learnt_or_converted_is_refused_on_a_handful_of_rows(prepare, section, told):
    estimator, fit = prepare(section)
    said = []
    with pytest.raises(SpecError) as refused:
        estimator.fit(replace(fit, doing=lambda what, _limit: said.append(what)))
    assert told in refused.value.found
    assert refused.value.exit_code == 3
    assert section["kind"] != "sklearn" or said == [f"trying {section['path']} on a handful of rows"]


@pytest.mark.parametrize("kind", ["lightgbm", "xgboost"])
def test_a_package_that_is_not_installed_is_named_with_its_extra(prepare, monkeypatch, kind):
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(SpecError, match="is not installed here") as refused:
        prepare({"kind": kind})
    assert "tallywright[train,trees]" in refused.value.remedy


def test_validate_looks_for_classes_and_files_without_any_data(prepare):
    from tallywright.training.apart import worker

    estimator, _ = prepare(EVERY["forest"]["binary"])
    training = estimator._spec
    said = []
    messages = SimpleNamespace(send=lambda kind, **fields: said.append((kind, fields["what"])))
    worker._try(SimpleNamespace(spec=SimpleNamespace(training=training), folder=Path()), messages)
    assert said == [(worker.DOING, "trying sklearn")]
    wrong = training.model_copy(update={"estimator": training.estimator.model_copy(update={"path": "sklearn.svm.X"})})
    with pytest.raises(SpecError, match=r"there is no estimator sklearn\.svm\.X"):
        worker._try(SimpleNamespace(spec=SimpleNamespace(training=wrong), folder=Path()), messages)
