"""Section `training.estimator`: what it may say, where a mistake is told, and how `training.network` is read."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from spec_mutations import mutated

from tallywright.errors import SpecError
from tallywright.spec.model import ModelSpec
from tallywright.spec.problems import Layers, explained

LAYERS = Layers(Path("no.yaml"))

Write = Any


@pytest.fixture
def load(with_training: Write) -> Write:
    """Loads the reference project with another `training`."""

    def again(*sets: str, **training: Any) -> Any:
        return with_training(
            lambda own: {key: value for key, value in own.items() if key != "estimator"} | training, *sets
        )

    return again


EVERY: list[dict[str, Any]] = [
    {"kind": "torch", "hidden": [8]},
    {"kind": "lightgbm", "params": {"num_leaves": 15, "extra_trees": True, "lambda_l1": 0.5}},
    {"kind": "xgboost", "monotone": {"humidity": -1}},
    {"kind": "sklearn", "path": "sklearn.ensemble.RandomForestClassifier", "params": {"n_estimators": 10}},
    {"kind": "onnx", "categories": {name: ["a"] for name in ("carrier", "origin", "dest", "day_of_week")}},
]


def test_each_kind_is_read(load: Write) -> None:
    every = EVERY
    for one in every:
        spec = load(estimator=one).spec.training
        assert [made.kind for made in spec.estimators] == [one["kind"]]
    several = load(estimator=every).spec.training
    assert [one.kind for one in several.estimators] == [one["kind"] for one in every]
    assert several.estimators[1].params == {"num_leaves": 15, "extra_trees": True, "lambda_l1": 0.5}
    assert several.files == ("network.py", "model.onnx")
    assert type(several).model_validate(several.as_json()) == several


def test_the_usual_pipeline_by_columns_is_not_too_deep(load):
    def of(path, **params):
        return {"path": path, "params": params}

    scaled = of(
        "sklearn.pipeline.Pipeline",
        steps=[["impute", of("sklearn.impute.SimpleImputer")], ["scale", of("sklearn.preprocessing.StandardScaler")]],
    )
    hot = of("sklearn.preprocessing.OneHotEncoder", handle_unknown="ignore")
    columns = of("sklearn.compose.ColumnTransformer", transformers=[["num", scaled, [0, 1]], ["cat", hot, [2]]])
    model = of("sklearn.linear_model.LogisticRegression")
    whole = of("sklearn.pipeline.Pipeline", steps=[["columns", columns], ["model", model]])
    for section in (
        whole,
        of("sklearn.model_selection.GridSearchCV", estimator=whole, param_grid={"model__C": [1, 2]}),
    ):
        (found,) = load(estimator={"kind": "sklearn"} | section).spec.training.estimators
        assert found.params == section["params"]


@pytest.mark.parametrize(
    ("estimator", "told"),
    [
        ({}, "training.estimator: needs a `kind`: one of torch, lightgbm, xgboost, sklearn, onnx"),
        ({"kind": "lightgmb"}, "training.estimator: needs a `kind`"),
        ("lightgbm", "training.estimator: found 'lightgbm'; needs a `kind`"),
        ({"kind": "lightgbm", "round": 3}, "training.estimator.round: unknown key (did you mean 'rounds'?)"),
        ([{"kind": "xgboost", "round": 3}], "training.estimator.0.round: unknown key (did you mean 'rounds'?)"),
        ({"kind": "lightgbm", "rounds": 0}, "training.estimator.rounds: found 0; must be at least 1"),
        ({"kind": "lightgbm", "params": {"num_leafs": 3}}, "takes no 'num_leafs' (did you mean 'num_leaves'?)"),
        ({"kind": "lightgbm", "params": {"input_model": "x"}}, "takes no 'input_model'"),
        ({"kind": "lightgbm", "params": {"objective": "cross_entropy"}}, "takes no objective 'cross_entropy'"),
        ({"kind": "xgboost", "params": {"nthread": 3}}, "takes no 'nthread'"),
        ({"kind": "lightgbm", "monotone": {"carrier": 1}}, "monotone names 'carrier', which is none of the columns"),
        ({"kind": "lightgbm", "monotone": {"humidity": 2}}, "training.estimator.monotone.humidity"),
        ([{"kind": "lightgbm"}, {"kind": "lightgbm"}], "two are called 'lightgbm': give each a `name`"),
        ([{"kind": "lightgbm", "name": "model"}], "the name 'model' means something else in the report"),
        ([], "training.estimator"),
        ({"kind": "sklearn", "path": "os.system"}, "a class of sklearn, lightgbm, xgboost is needed"),
        ({"kind": "sklearn", "path": "sklearn._loss.Loss"}, "begins with `_`"),
        ({"kind": "sklearn", "path": "sklearn.svm.SVC", "params": {"a": {"path": "os.x"}}}, "a class of sklearn"),
        ({"kind": "sklearn", "path": "sklearn.svm.SVC", "params": {"a": {"path": "sklearn.x", "b": 1}}}, "is written"),
        ({"kind": "onnx"}, "`categories` of an ONNX file names each column in `categorical`"),
        ({"kind": "onnx", "file": "../x.onnx"}, "training.estimator.file"),
    ],
)
def test_a_mistake_is_told_where_it_stands(load: Write, estimator: Any, told: str) -> None:
    with pytest.raises(SpecError) as refused:
        load(estimator=estimator)
    assert told in str(refused.value)
    assert "model.yaml:" in str(refused.value)


def test_the_network_of_before_is_read_with_one_warning_that_prints_the_new_line(
    load: Write, heard: pytest.LogCaptureFixture
) -> None:
    before = load(network={"hidden": [8], "epochs": 3}).spec.training
    assert load(network={"hidden": [8], "epochs": 3}).spec.training == before
    (warning,) = [record.getMessage() for record in heard.records if record.levelname == "WARNING"]
    _, _, line = warning.partition("write `")
    now = load(**yaml.safe_load(line.rstrip("`"))).spec.training
    assert now.estimators == before.estimators
    assert now.estimators[0].epochs == 3
    assert len([record for record in heard.records if record.levelname == "WARNING"]) == 1


def test_a_set_of_before_changes_the_estimator(load: Write) -> None:
    spec = load("training.network.epochs=2", estimator={"kind": "torch", "hidden": [8], "epochs": 9}).spec.training
    assert (spec.estimators[0].epochs, spec.estimators[0].hidden) == (2, (8,))
    with pytest.raises(SpecError, match="`network` belongs to an estimator of kind torch"):
        load("training.network.epochs=2", estimator={"kind": "lightgbm"})


def test_without_either_it_is_the_torch_network(load: Write) -> None:
    (only,) = load().spec.training.estimators
    assert (only.kind, only.module, only.epochs) == ("torch", "network.py", 20)


def test_a_file_that_leads_out_of_the_project_is_refused(load: Write, tmp_path: Path) -> None:
    (tmp_path.parent / "elsewhere.py").write_text("")
    link = tmp_path / "models/flight_delays/link.py"
    link.symlink_to(tmp_path.parent / "elsewhere.py")
    for estimator, key in (
        ({"kind": "torch", "module": "link.py"}, "training.estimator.module"),
        ([{"kind": "lightgbm"}, {"kind": "torch", "module": "link.py"}], "training.estimator.1.module"),
    ):
        with pytest.raises(SpecError, match="leads out of the project") as refused:
            load(estimator=estimator)
        assert key in str(refused.value)


def test_hostile_values_are_read_or_told(load: Write) -> None:
    """300 mutations: an estimator that is accepted is written and read again as the same one."""
    chance, accepted, told = random.Random(5), 0, []
    training = load().spec.training
    plain = training.as_json(without=frozenset({"network"}))
    for _ in range(300):
        values = {"estimator": chance.choice([*EVERY, EVERY])}
        changed = mutated(values, chance)
        try:
            made = type(training).model_validate(plain | changed)
        except ValidationError as error:
            details = [one | {"loc": ("training", *one["loc"])} for one in error.errors()]
            told.append(explained(ModelSpec, details, LAYERS))
            continue
        accepted += 1
        assert type(made).model_validate(made.as_json()).estimators == made.estimators
    assert all(told)
    assert 20 < accepted < 280
