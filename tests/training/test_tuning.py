"""A search for parameters: the same choice again and after a kill, from training and validation days alone."""

from __future__ import annotations

import importlib.util
import multiprocessing
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import visits as visits_world
from killed_search import train_until

from tallywright.errors import PackageError, SpecError
from tallywright.packaging.package import load_package

for package in ("torch", "lightgbm", "xgboost", "optuna"):
    pytest.importorskip(package)
pytestmark = pytest.mark.slow

TRIALS = 8
TREES = {"kind": "lightgbm", "rounds": 40, "learning_rate": 0.1, "patience": 10}
SPACE = {
    "learning_rate": {"low": 0.02, "high": 0.5, "log": True},
    "num_leaves": {"low": 2, "high": 31, "log": True},
    "min_data_in_leaf": {"low": 5, "high": 100, "step": 5},
    "extra_trees": {"choices": [False, True]},
}
TUNED = {"estimator": TREES, "tuning": {"space": SPACE, "trials": TRIALS}, "baselines": False}


def train(made, work, run_id="run-1", **others):
    from tallywright.training import fit

    return fit.train(*made, run_id=run_id, work=work, code_version="0123abc", **others)


def with_training(made, **training):
    """The same project with another training section."""
    spec = visits_world.spec_of(made[0].spec.training.task, **training)
    return replace(made[0], spec=spec), *made[1:]


def config_of(trained):
    return load_package(Path(trained.folder), digest=trained.digest).meta.training_config


class Trials:
    """The nested runs of a training, as MLflow has them."""

    def __init__(self, made, trained):
        from mlflow import MlflowClient

        self.client = MlflowClient(tracking_uri=made[0].environment.tracking.uri)
        self.parent = self.client.get_run(trained.run_id)
        found = self.client.search_runs([self.parent.info.experiment_id])
        self.runs = sorted(
            (run for run in found if run.data.tags.get("mlflow.parentRunId") == trained.run_id),
            key=lambda run: int(run.info.run_name.removeprefix("trial ")),
        )

    def records(self):
        from tallywright.training.tuning.trials import TuningTrial

        return [TuningTrial.from_json(run.data.tags["tallywright.trial"]) for run in self.runs]

    def drawn(self):
        return [(trial.state, trial.drawn, trial.value, trial.reported) for trial in self.records()]

    def delete(self):
        for run in self.runs:
            self.client.delete_run(run.info.run_id)


@pytest.fixture
def never_searched(monkeypatch):
    """Whoever searches from here on fails."""
    from tallywright.training import fit

    def searched(*_):
        pytest.fail("a search was begun")

    return lambda: monkeypatch.setattr(fit, "tune", searched)


def test_what_was_chosen_is_recorded_refitted_and_found_again(visits, tmp_path, never_searched):
    from tallywright.training import fit

    made = visits(**TUNED)
    trained = train(made, tmp_path / "work")
    config, trials = config_of(trained), Trials(made, trained)
    chosen = config["tuned"]
    assert trained.tuned == chosen
    assert config["training"]["tuning"]["trials"] == TRIALS
    assert config["training"]["estimator"]["learning_rate"] == 0.1
    assert chosen["estimator"]["learning_rate"] == chosen["parameters"]["learning_rate"] != 0.1
    assert chosen["estimator"]["params"].keys() == SPACE.keys() - {"learning_rate"}

    # The trials are nested runs, and the best of them is what was chosen.
    records = trials.records()
    assert [trial.number for trial in records] == list(range(TRIALS))
    best = max((trial for trial in records if trial.value is not None), key=lambda trial: trial.value)
    assert (chosen["best"], chosen["value"], config["rounds"]) == (best.number, best.value, best.rounds)
    run = trials.runs[best.number]
    assert run.info.status == "FINISHED"
    assert run.data.params == {name: str(value) for name, value in chosen["parameters"].items()}
    assert run.data.metrics["validation/roc_auc"] == best.value
    assert len(trials.client.get_metric_history(run.info.run_id, "validation_loss")) >= best.rounds
    assert run.data.tags["tallywright.lake"] == trials.parent.data.tags["tallywright.lake"]
    assert trials.parent.data.metrics["tuning/best/roc_auc"] == best.value
    assert trials.parent.data.params["tuned.num_leaves"] == str(chosen["parameters"]["num_leaves"])
    pruned = [trial for trial in records if trial.state == "pruned"]
    assert (len(pruned), chosen["pruned"] + chosen["complete"]) == (chosen["pruned"], TRIALS)
    for trial in pruned:
        at, loss = max(trial.reported.items())
        earlier = [one.reported[at] for one in records[: trial.number] if at in one.reported and one.value is not None]
        assert min(trial.reported.values()) > np.median(earlier) or loss > np.median(earlier)
    assert pruned
    assert trials.runs[pruned[0].number].info.status == "KILLED"

    # Neither the record alone nor the refit searches.
    never_searched()
    assert train(made, tmp_path / "repeated", tuned=chosen).digest == trained.digest
    refitted = fit.refit(
        *made, judged=Path(trained.folder), run_id="run-1", work=tmp_path / "work", code_version="0123abc"
    )
    assert config_of(refitted)["tuned"] == chosen
    assert config_of(refitted)["rounds"] == config["rounds"]
    with pytest.raises(PackageError, match="the record of the tuning of lightgbm cannot be read"):
        train(made, tmp_path / "work", tuned={"estimator": {"kind": "lightgbm", "rounds": -1}})


@pytest.mark.long
@pytest.mark.parametrize(("said", "done"), [("trial 7 of 8", 6), ('tallywright.trial {"number":4', 4)])
def test_a_search_that_is_killed_goes_on_to_the_same_choice(visits, tmp_path, heard, said, done):
    made = visits(**TUNED)
    job = (made[0], made[2], tmp_path / "work", said)
    victim = multiprocessing.get_context("forkserver").Process(target=train_until, args=job)
    victim.start()
    victim.join(120)
    assert victim.exitcode == -signal.SIGKILL
    heard.clear()
    resumed = train(made, tmp_path / "work")
    assert f"the search goes on after {done} finished trials" in [one.getMessage() for one in heard.records]
    trials = Trials(made, resumed)
    assert [run.info.run_name for run in trials.runs] == [f"trial {number + 1}" for number in range(TRIALS)]
    before = trials.drawn()
    trials.delete()
    whole = train(made, tmp_path / "whole")
    assert (whole.digest, Trials(made, whole).drawn()) == (resumed.digest, before)


def test_the_holdout_has_no_part_in_the_search(visits, tmp_path, monkeypatch):
    from tallywright.training import fit

    few = {"space": SPACE, "trials": 3}
    made, tables, searched = visits(**TUNED | {"tuning": few}), fit.read_tables, []

    def poisoned(*given):
        found = tables(*given)
        bad = found["holdout"]
        for name, values in (("y", pc.subtract(1, bad["y"])), ("amount", pa.nulls(len(bad), pa.float64()))):
            bad = bad.set_column(bad.column_names.index(name), name, pc.cast(values, bad[name].type))
        return found | {"holdout": bad}

    def seen(recipe, given, *others):
        searched.append(set(given))
        return plain(recipe, given, *others)

    plain = fit.tune
    monkeypatch.setattr(fit, "tune", seen)
    clean = train(made, tmp_path / "clean")
    monkeypatch.setattr(fit, "read_tables", poisoned)
    other = train(made, tmp_path / "poisoned", run_id="run-2")
    assert searched == [{"train", "validation"}] * 2
    assert other.tuned == clean.tuned
    assert Trials(made, other).drawn() == Trials(made, clean).drawn()
    assert clean.metrics["model"]["roc_auc"] > 0.8
    assert other.metrics["model"]["roc_auc"] < 0.6


@pytest.mark.long
def test_a_tuned_network_is_built_again_with_what_was_chosen(visits, tmp_path):
    from tallywright.packaging.predictor import Predictor
    from tallywright.training.networks.export import torch_scores
    from tallywright.training.networks.rebuilt import rebuilt_network

    space = {"hidden": {"choices": [[6], [5, 4]]}, "weight_decay": {"low": 0.0, "high": 0.1}}
    network = {"kind": "torch", "epochs": 4, "hidden": [16], "batch_size": 128}
    made = visits(estimator=network, tuning={"space": space, "trials": 7}, baselines=False)
    trained = train(made, tmp_path / "work")
    assert trained.tuned["estimator"]["hidden"] in [[6], [5, 4]]
    assert all(len(trial.reported) == trial.rounds <= 4 for trial in Trials(made, trained).records())
    package = load_package(Path(trained.folder))
    sample, _ = package.parity()
    scores = torch_scores(rebuilt_network(package), sample.numeric.copy(), sample.categorical.copy())
    assert scores == pytest.approx(Predictor(package).score(sample), abs=1e-5)


@pytest.mark.parametrize("kind", [pytest.param("torch", marks=pytest.mark.long), "lightgbm", "xgboost"])
def test_an_estimator_tells_its_validation_losses_and_can_be_stopped(kind, rows, flights_folder, tmp_path):
    from types import SimpleNamespace

    from tallywright.spec.sections import Training
    from tallywright.training.estimators.protocol import FitTask, Pruned
    from tallywright.training.estimators.registry import make
    from tallywright.training.objective import learn_objective

    section = {"torch": {"epochs": 6, "hidden": [4]}}.get(kind, {"rounds": 6})
    spec = Training.model_validate(
        {"numeric": ["a", "b", "c"], "categorical": ["k"], "device": "cpu", "estimator": {"kind": kind, **section}}
    )
    estimator = make(SimpleNamespace(spec=SimpleNamespace(training=spec), folder=flights_folder), spec.estimators[0])
    heard, train_rows = [], rows(count=400)

    def task(validated):
        return FitTask(
            objective=learn_objective("binary", train_rows.target, "none"),
            train=train_rows,
            validation=rows(count=200, seed=2),
            codes=(5,),
            rounds=None,
            configuration="",
            checkpoint=None,
            doing=lambda *_: None,
            validated=validated,
        )

    fitted = estimator.fit(task(lambda at, loss: heard.append((at, loss))))
    assert heard == list(enumerate(fitted.curves["validation_loss"], start=1))

    def stop(at, _loss):
        heard.append(at)
        if at == 2:
            raise Pruned

    heard.clear()
    with pytest.raises(Pruned):
        estimator.fit(task(stop))
    assert heard == [1, 2]


def test_how_a_search_may_end(visits, tmp_path, monkeypatch):
    from tallywright.training.tracking import find_run

    forest = {"kind": "sklearn", "path": "sklearn.ensemble.RandomForestRegressor", "params": {"n_estimators": 2}}
    space = {"max_features": {"choices": ["sqrt", "no such"]}, "max_depth": {"low": 2, "high": 9}}
    searched = {"estimator": forest, "baselines": False}
    made = visits("regression", **searched, tuning={"space": space, "trials": 4})
    plain = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "optuna" else plain(name))
    with pytest.raises(SpecError, match=r"tallywright\[tuning\]"):
        train(made, tmp_path / "work")
    assert find_run(made[0], "run-1") is None
    monkeypatch.undo()

    # Its trials are spent; those that the library refuses are counted.
    trained = train(made, tmp_path / "work")
    records = Trials(made, trained).records()
    assert [trial.state for trial in records].count("failed") == trained.tuned["failed"] > 0
    assert trained.tuned["value"] == min(trial.value for trial in records if trial.value is not None)
    assert all("max_features" in trial.problem for trial in records if trial.state == "failed")
    assert isinstance(trained.tuned["parameters"]["max_depth"], int)

    # Its minutes are spent.
    short = {"space": {"max_depth": space["max_depth"]}, "minutes": 1e-9, "sampler": "random", "pruning": False}
    trained = train(with_training(made, **searched, tuning=short), tmp_path / "short", run_id="run-2")
    assert (trained.tuned["trials"], trained.tuned["complete"]) == (1, 1)

    # It only fails.
    bad = {"space": {"max_features": {"choices": ["nor this", "no such"]}}}
    with pytest.raises(SpecError, match=r"none of 3 trials of training\.tuning could be fitted"):
        train(with_training(made, **searched, tuning=bad), tmp_path / "bad", run_id="run-3")
