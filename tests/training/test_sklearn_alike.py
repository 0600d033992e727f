"""Models inside of others by scikit-learn's interface: exact, or refused before the training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from tallywright.errors import InputError, PackageError, SpecError
from tallywright.spec.sections import Training
from tallywright.training.estimators.model_graph import GraphParts
from tallywright.training.estimators.protocol import FitTask, Fitted
from tallywright.training.estimators.registry import make
from tallywright.training.estimators.sklearn.alike import require_alike
from tallywright.training.estimators.tree_graph import EQ, LEAF, LEQ, Tree, ensemble_node
from tallywright.training.matrices import Rows
from tallywright.training.objective import learn_objective
from tallywright.training.parity import require_parity

for package in ("lightgbm", "xgboost", "skl2onnx"):
    pytest.importorskip(package)
pytestmark = pytest.mark.slow


def of(path: str, **params) -> dict:
    return {"path": path, "params": params}


def pipeline(*steps: dict) -> dict:
    return of("sklearn.pipeline.Pipeline", steps=[[f"step_{number}", step] for number, step in enumerate(steps)])


IMPUTER = of("sklearn.impute.SimpleImputer")
SCALER = of("sklearn.preprocessing.StandardScaler")
FOREST = of("sklearn.ensemble.RandomForestClassifier", n_estimators=10)
REGRESSION_FOREST = of("sklearn.ensemble.RandomForestRegressor", n_estimators=10)
HISTOGRAM = of("sklearn.ensemble.HistGradientBoostingClassifier", max_iter=10)
COLUMNS = of(
    "sklearn.compose.ColumnTransformer",
    transformers=[
        ["num", pipeline(IMPUTER, SCALER), [0, 1, 2]],
        ["cat", of("sklearn.preprocessing.OneHotEncoder", handle_unknown="ignore"), [3]],
    ],
)
SCALED_FOREST = pipeline(IMPUTER, SCALER, FOREST)
SEARCH = "sklearn.model_selection.GridSearchCV"
CALIBRATED = "sklearn.calibration.CalibratedClassifierCV"
STACKING = of("sklearn.ensemble.StackingClassifier", estimators=[["a", FOREST]], cv=3)


@pytest.fixture
def on_a_grid(rows):
    """Rows whose column `b` has whole numbers: thresholds of trees often are such a number, too."""

    def build(task="binary", count=1000, seed=1):
        made = rows(task, count=count, seed=seed)
        made.numeric[:, 1] = np.round(made.numeric[:, 1])
        return made

    return build


@pytest.fixture
def prepare(on_a_grid):
    """An estimator of kind sklearn, its task, and what it says it does."""

    def build(section, task="binary", train=None, **more):
        values = {
            "task": task, "target": "y", "numeric": ["a", "b", "c"], "categorical": ["k"], "window_days": 10,
            "validation_days": 2, "estimator": {"kind": "sklearn"} | section | more,
        }  # fmt: skip
        spec = Training.model_validate(values)
        estimator = make(SimpleNamespace(spec=SimpleNamespace(training=spec), folder=Path()), spec.estimators[0])
        train, said = train or on_a_grid(task), []
        fit = FitTask(
            objective=learn_objective(task, train.target, "none"),
            train=train,
            validation=None,
            codes=(5,),
            rounds=None,
            configuration="",
            checkpoint=Path(),
            doing=lambda what, _limit: said.append(what),
        )
        return estimator, fit, said

    return build


def scores(graph: bytes, given: Rows) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(["score"], {"numeric": given.numeric, "categorical": given.categorical})[0]


def with_nulls(given: Rows) -> Rows:
    made, codes = np.random.default_rng(4), given.categorical.copy()
    null = made.random(given.numeric.shape) < 0.2
    codes[:2] = [[0], [1]]
    return Rows(np.where(null, np.float32(np.nan), given.numeric), codes, given.target)


LONG = pytest.mark.long
EXACT = [
    pytest.param(SCALED_FOREST, "binary", "plain", id="scaled forest"),
    pytest.param(SCALED_FOREST, "multiclass", "plain", id="scaled forest of classes", marks=LONG),
    pytest.param(pipeline(IMPUTER, SCALER, REGRESSION_FOREST), "regression", "plain", id="scaled regression forest"),
    pytest.param(pipeline(SCALER, HISTOGRAM), "binary", "plain", id="scaled histogram"),
    pytest.param(pipeline(SCALER, of("lightgbm.LGBMClassifier", n_estimators=10)), "binary", "plain", id="LightGBM"),
    pytest.param(pipeline(SCALER, of("xgboost.XGBClassifier", n_estimators=10)), "binary", "plain", id="XGBoost"),
    pytest.param(pipeline(COLUMNS, of("sklearn.linear_model.LogisticRegression")), "binary", "plain", id="columns"),
    pytest.param(pipeline(COLUMNS, FOREST), "binary", "plain", id="columns and forest"),
    pytest.param(
        pipeline(IMPUTER, of("sklearn.preprocessing.PolynomialFeatures"), FOREST), "binary", "plain", id="polynomial"
    ),
    pytest.param(of("sklearn.ensemble.BaggingClassifier", n_estimators=5), "binary", "plain", id="bagging"),
    pytest.param(of("sklearn.ensemble.BaggingRegressor", n_estimators=5), "regression", "plain", id="bagged values"),
    pytest.param(of(CALIBRATED, estimator=FOREST, cv=3), "binary", "plain", id="calibrated", marks=LONG),
    pytest.param(of(SEARCH, estimator=FOREST, param_grid={"max_depth": [3]}, cv=2), "binary", "plain", id="search"),
    pytest.param(
        of(SEARCH, estimator=SCALED_FOREST, param_grid={"step_2__max_depth": [3, 5]}, cv=2),
        "binary",
        "plain",
        id="search over a pipeline",
        marks=LONG,
    ),
    pytest.param(STACKING, "binary", "plain", id="stacking by default", marks=LONG),
    pytest.param(of("sklearn.discriminant_analysis.LinearDiscriminantAnalysis"), "binary", "normalised", id="LDA"),
    pytest.param(
        of("sklearn.discriminant_analysis.LinearDiscriminantAnalysis"), "multiclass", "normalised", id="LDA of classes"
    ),
]


@pytest.mark.parametrize(("section", "task", "inputs"), EXACT)
def test_what_stands_inside_of_others_scores_as_the_library_does(prepare, on_a_grid, section, task, inputs):
    estimator, fit, _ = prepare(section, task, inputs=inputs)
    fitted = estimator.fit(fit)
    unseen = on_a_grid(task, count=2000, seed=3)
    for given in (fit.train, unseen, with_nulls(unseen)):
        own, ours = np.asarray(fitted.predict(given)), scores(fitted.graph, given)
        assert own.shape == ours.shape
        assert np.abs(own - ours).max() < 1e-6 * max(1.0, np.abs(own).max())


def test_the_same_pipeline_gives_the_same_bytes(prepare):
    estimator, fit, _ = prepare(SCALED_FOREST)
    assert estimator.fit(fit).graph == estimator.fit(fit).graph


@pytest.mark.parametrize(
    ("section", "told"),
    [
        (of(CALIBRATED, estimator=SCALED_FOREST, cv=3), "differs from the library's own score by 0."),
        (pipeline(IMPUTER, of("sklearn.preprocessing.PowerTransformer"), FOREST), "values halfway between"),
        (pipeline(of("sklearn.impute.SimpleImputer", add_indicator=True), FOREST), "cannot be converted exactly"),
    ],
)
def test_a_graph_with_other_scores_is_refused_before_the_training(prepare, section, told):
    estimator, fit, said = prepare(section)
    with pytest.raises(SpecError) as refused:
        estimator.fit(fit)
    assert told in refused.value.found
    assert "report" not in str(refused.value)
    assert "lightgbm" in refused.value.remedy
    assert said == [f"trying {section['path']} on a handful of rows"]


def stump(mode: int, column: int, threshold: float, *, missing: bool) -> bytes:
    """A graph that asks one thing of one column: 0 where it holds, 1 where it does not."""
    parts = GraphParts(3, 1)
    tree = Tree(
        mode=np.array([mode, LEAF, LEAF], dtype=np.uint8),
        feature=np.array([column, 0, 0]),
        threshold=np.array([threshold, 0, 0], dtype=np.float32),
        true=np.array([1, 0, 0]),
        false=np.array([2, 0, 0]),
        missing=np.array([missing, False, False]),
        values=np.array([[0.0], [0.0], [1.0]]),
    )
    parts.nodes.append(ensemble_node([tree], 1, (0.0,), (parts.plain_matrix(), "raw")))
    parts.one_column("raw")
    return parts.model(1)


@pytest.mark.parametrize(
    ("graph", "own", "told"),
    [
        (stump(LEQ, 0, 0, missing=True), lambda rows: ~(rows.numeric[:, 0] <= 0), "rows with nulls"),
        (stump(EQ, 0, 0, missing=False), lambda rows: np.ones(len(rows.target)), "rows with zeros"),
        (stump(LEQ, 3, 1, missing=False), lambda rows: np.ones(len(rows.target)), "unseen categories"),
        (stump(LEQ, 0, 0, missing=False), lambda rows: rows.numeric[:, 0] > 1, "rows of the training"),
    ],
)
def test_the_trial_has_rows_with_nulls_zeros_and_unseen_codes(rows, graph, own, told):
    few = rows(count=300)
    few = Rows(np.nan_to_num(few.numeric, nan=1.0), few.categorical + 2, few.target)
    fitted = Fitted(graph, lambda given: own(given).astype(np.float64), tolerance=1e-4, rounds=1)
    with pytest.raises(SpecError) as refused:
        require_alike(fitted, few, "some.Model")
    assert told in refused.value.found
    assert "of 300 " in refused.value.found


def test_rows_that_the_library_itself_refuses_are_not_compared(rows):
    few = rows(count=300)
    few = Rows(np.nan_to_num(few.numeric, nan=1.0), few.categorical, few.target)

    def own(given: Rows) -> np.ndarray:
        if np.isnan(given.numeric).any():
            raise ValueError("Input X contains NaN")
        return (given.numeric[:, 0] > 0).astype(np.float64)

    require_alike(Fitted(stump(LEQ, 0, 0, missing=True), own, tolerance=1e-4, rounds=1), few, "some.Model")


def test_a_gap_on_the_holdout_says_what_to_use_instead():
    with pytest.raises(PackageError, match="in 1 of 2 rows") as refused:
        require_parity(np.array([0.1, 0.2]), np.array([0.1, 0.3]), 1e-4)
    assert "bare forest" in refused.value.remedy
    assert "report" not in refused.value.remedy


@pytest.mark.parametrize(
    ("section", "told"),
    [
        (of("xgboost.XGBClassifier", missing=0.0), "missing: 0.0"),
        (pipeline(IMPUTER, of("xgboost.XGBClassifier", missing=-1)), "missing: -1"),
        (of("xgboost.XGBClassifier", multi_strategy="multi_output_tree"), "multi_strategy: 'multi_output_tree'"),
        (of("lightgbm.LGBMClassifier", zero_as_missing=True), "no parameter 'zero_as_missing'"),
        (of("lightgbm.LGBMClassifier", linear_tree=True), "no parameter 'linear_tree'"),
        (of("lightgbm.LGBMClassifier", use_missing=False), "no parameter 'use_missing'"),
    ],
)
def test_parameters_that_no_graph_can_follow_are_refused_at_once(prepare, section, told):
    with pytest.raises(SpecError) as refused:
        prepare(section)
    assert told in refused.value.found


def test_parameters_with_the_value_that_they_have_anyway_are_taken(prepare):
    prepare(of("xgboost.XGBClassifier", missing=None, multi_strategy="one_output_per_tree"))


def test_probabilities_are_asked_for_when_the_trial_is_fitted(prepare):
    prepare(STACKING)
    estimator, fit, said = prepare(of("sklearn.svm.SVC"), inputs="normalised")
    with pytest.raises(SpecError, match="is no classifier with probabilities"):
        estimator.fit(fit)
    assert len(said) == 1


@pytest.mark.parametrize("kind", ["Classifier", "Regressor"])
def test_a_column_without_any_value_is_named(prepare, on_a_grid, kind):
    task = "binary" if kind == "Classifier" else "regression"
    train = on_a_grid(task)
    train.numeric[:, 2] = np.nan
    estimator, fit, said = prepare(of(f"sklearn.ensemble.HistGradientBoosting{kind}"), task, train)
    with pytest.raises(InputError, match="no value at all in the training rows of c"):
        estimator.fit(fit)
    assert len(said) == 1


def test_a_column_whose_values_begin_late_is_learnt_from(prepare, on_a_grid):
    train = on_a_grid()
    train.numeric[:900, 2] = np.nan
    estimator, fit, _ = prepare(HISTOGRAM, train=train)
    fitted = estimator.fit(fit)
    assert np.abs(np.asarray(fitted.predict(train)) - scores(fitted.graph, train)).max() < 1e-6


def test_a_numeric_column_as_categories_is_refused_in_words(prepare, on_a_grid):
    train = on_a_grid()
    train.numeric[:, 1] = np.abs(train.numeric[:, 1])
    estimator, fit, _ = prepare(
        of("sklearn.ensemble.HistGradientBoostingClassifier", categorical_features=[1]), train=train
    )
    with pytest.raises(SpecError, match="cannot be converted"):
        estimator.fit(fit)


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_the_shares_of_a_forest_are_probabilities_to_the_last_bit(prepare, on_a_grid, task):
    estimator, fit, _ = prepare(of("sklearn.ensemble.RandomForestClassifier", n_estimators=41), task)
    found = scores(estimator.fit(fit).graph, fit.train)
    assert found.min() >= 0
    assert found.max() <= 1
