"""Section `training.tuning`: what may be searched, where a mistake is told, and that without it nothing changes."""

from __future__ import annotations

import random
from typing import Any

import pytest
from pydantic import ValidationError
from spec_mutations import mutated

from tallywright.errors import SpecError
from tallywright.lifecycle.plan import find_step
from tallywright.spec.sections import Training
from tallywright.spec.tuning import PARAMETERS, Tuning, problems_in, with_values

TREES = {"kind": "lightgbm", "params": {"num_leaves": 15}}
FOREST = {"kind": "sklearn", "path": "sklearn.ensemble.RandomForestClassifier"}
RANGE = {"low": 5, "high": 50}
GOOD: dict[str, Any] = {
    "trials": 25,
    "minutes": 30,
    "space": {
        "learning_rate": {"low": 0.01, "high": 0.3, "log": True},
        "num_leaves": {"low": 7, "high": 255, "log": True},
        "min_data_in_leaf": {"low": 20, "high": 200, "step": 20},
        "lambda_l2": {"low": 0, "high": 10},
        "extra_trees": {"choices": [True, False]},
    },
}

Load = Any


@pytest.fixture
def load(with_training: Load) -> Load:
    """Loads the reference project with another estimator and a search."""

    def again(estimator: Any, tuning: Any, *sets: str) -> Any:
        changed = {"estimator": estimator} | ({} if tuning is None else {"tuning": tuning})
        return with_training(lambda training: training | changed, *sets)

    return again


def test_a_search_is_read_and_written_again(load: Load) -> None:
    training = load(TREES, GOOD, "training.tuning.trials=5").spec.training
    assert (training.tuning.trials, training.tuning.pruning, training.tuning.sampler) == (5, True, "tpe")
    assert Training.model_validate(training.as_json()) == training
    assert training.tuned.kind == "lightgbm"
    chosen = with_values(training.tuned, {"learning_rate": 0.2, "num_leaves": 9, "extra_trees": True})
    assert (chosen.learning_rate, chosen.params) == (0.2, {"num_leaves": 9, "extra_trees": True})
    listed = load([TREES, TREES | {"name": "deep"}], GOOD | {"estimator": "deep"}).spec.training
    assert listed.tuned is listed.estimators[1]


def test_without_it_a_spec_is_what_it_was_and_with_it_the_training_has_its_minutes_more(load: Load) -> None:
    plain, searched = load(TREES, None).spec, load(TREES, GOOD).spec
    assert "tuning" not in plain.training.as_json()
    assert plain.training.digest() == Training.model_validate(plain.training.as_json() | {"tuning": None}).digest()
    assert plain.training.digest() != searched.training.digest()
    more = find_step(searched, "train")[1].timeout - find_step(plain, "train")[1].timeout
    assert more.total_seconds() == 30 * 60


@pytest.mark.parametrize(
    ("space", "told"),
    [
        (
            {"num_leafs": RANGE},
            "space.num_leafs: lightgbm has no 'num_leafs' to be searched (did you mean 'num_leaves'?)",
        ),
        ({"objective": {"choices": ["a", "b"]}}, "lightgbm has no 'objective' to be searched"),
        ({"class_weight": {"choices": ["none", "balanced"]}}, "lightgbm has no 'class_weight' to be searched"),
        ({"num_leaves": {"low": 50, "high": 5}}, "space.num_leaves: low 50 is not below high 5"),
        ({"num_leaves": {"low": 5.5, "high": 50}}, "space.num_leaves.low: num_leaves cannot be 5.5: a whole number"),
        ({"num_leaves": {"choices": [5, "many"]}}, "space.num_leaves.choices.1: num_leaves cannot be 'many': a whole"),
        ({"lambda_l2": {"choices": [1, "much"]}}, "lambda_l2 cannot be 'much': a number is needed"),
        ({"extra_trees": RANGE}, "space.extra_trees: extra_trees has no range: give `choices`"),
        ({"extra_trees": {"choices": [1, 2]}}, "extra_trees cannot be 1: a text or a truth value is needed"),
        (
            {"learning_rate": {"low": 0.1, "high": 2}},
            "space.learning_rate.high: learning_rate cannot be 2: Input should",
        ),
        ({"learning_rate": {"low": 0, "high": 1, "log": True}}, "`log` needs a `low` above 0, and no `step`"),
        ({"num_leaves": RANGE | {"step": 100}}, "step 100 leads to no value"),
        ({"num_leaves": RANGE | {"step": 2, "log": True}}, "`log` needs a `low` above 0, and no `step`"),
        ({"num_leaves": RANGE | {"choices": [1, 2]}}, "give `low` and `high`, or `choices`"),
        ({"num_leaves": {"low": 5}}, "give `low` and `high`, or `choices`"),
        ({"num_leaves": {"choices": [3]}}, "`choices` are at least two, each once"),
        ({"num_leaves": {"choices": [3, 3]}}, "`choices` are at least two, each once"),
        ({"num_leaves": {"low": "a", "high": 3}}, "space.num_leaves.low: found 'a'; a number is needed"),
        ({"num_leaves": RANGE | {"stpe": 3}}, "space.num_leaves.stpe: unknown key (did you mean 'step'?)"),
        ({}, "training.tuning.space"),
    ],
)
def test_a_mistake_is_told_where_it_stands(load: Load, space: Any, told: str) -> None:
    with pytest.raises(SpecError) as refused:
        load(TREES, {"space": space})
    assert told in str(refused.value)
    assert "model.yaml:" in str(refused.value)


@pytest.mark.parametrize(
    ("estimator", "tuning", "told"),
    [
        ([TREES, FOREST], {}, "training.tuning.estimator: say which one is tuned; there is lightgbm, sklearn"),
        (TREES, {"estimator": "lightgb"}, "no estimator is called 'lightgb' (did you mean 'lightgbm'?)"),
        (TREES, {"trials": 0}, "training.tuning.trials: found 0; must be at least 1"),
        (TREES, {"sampler": "grid"}, "training.tuning.sampler"),
        (TREES, {"minutes": 1e9}, "training.tuning.minutes: found 1000000000.0; must be at most 1440"),
        (
            {"kind": "onnx", "categories": {name: ["a"] for name in ("carrier", "origin", "dest", "day_of_week")}},
            {},
            "training.tuning.estimator: nothing of a ready file can be tuned",
        ),
        ({"kind": "torch"}, {}, "torch has no 'max_depth' to be searched"),
    ],
)
def test_a_search_fits_the_estimators(load: Load, estimator: Any, tuning: Any, told: str) -> None:
    with pytest.raises(SpecError) as refused:
        load(estimator, {"space": {"max_depth": RANGE}} | tuning)
    assert told in str(refused.value)


def test_lists_and_any_parameter_of_scikit_learn_can_be_searched(load: Load) -> None:
    hidden = {"hidden": {"choices": [[32], [64, 32]]}, "dropout": {"low": 0, "high": 0.5}}
    torch = load({"kind": "torch"}, {"space": hidden}).spec.training
    assert with_values(torch.tuned, {"hidden": [64, 32]}).hidden == (64, 32)
    with pytest.raises(SpecError, match=r"space\.hidden\.choices\.1: hidden cannot be"):
        load({"kind": "torch"}, {"space": {"hidden": {"choices": [[32], [0]]}}})
    forest = load(FOREST, {"space": {"max_depth": {"choices": [None, 7]}, "min_samples_leaf": RANGE}}).spec.training
    chosen = with_values(forest.tuned, {"max_depth": None, "class_weight": "balanced"})
    assert (chosen.params, chosen.class_weight) == ({"max_depth": None, "class_weight": "balanced"}, "none")


def test_each_parameter_that_can_be_searched_is_one_that_the_estimator_takes(load: Load) -> None:
    for kind, parameters in PARAMETERS.items():
        for name, type_ in parameters.items():
            value = {"whole": 2, "number": 0.5, "named": [2] if kind == "torch" else "gbdt"}[type_]
            estimator = load({"kind": kind}, None).spec.training.estimators[0]
            assert name in str(with_values(estimator, {name: value}))


def test_hostile_values_are_read_or_told_and_what_is_read_can_be_drawn(load: Load) -> None:
    optuna = pytest.importorskip("optuna")
    from tallywright.training.tuning.space import distributions_of, values_of

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    chance, drawn = random.Random(7), 0
    plain = load(TREES, None).spec.training.as_json()
    for _ in range(400):
        estimator = chance.choice([TREES, FOREST, {"kind": "torch"}])
        space = GOOD["space"] if estimator is TREES else {"epochs": RANGE, "max_depth": RANGE, "hidden": RANGE}
        try:
            made = Training.model_validate(
                plain | {"estimator": estimator, "tuning": mutated(GOOD | {"space": space}, chance)}
            )
        except ValidationError:
            continue
        assert isinstance(made.tuning, Tuning)
        if [*problems_in(made.tuning, made.estimators)]:
            continue
        assert made.tuned is not None
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1))
        asked = study.ask(distributions_of(made.tuning.space, made.tuned.kind))
        try:
            with_values(made.tuned, values_of(made.tuning.space, asked.params))
        except ValidationError:
            pytest.fail("a value between the ends of a range, or a choice, is refused")
        drawn += 1
    assert drawn > 20
