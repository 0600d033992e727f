"""`tally reproduce`: a version is made again from what is recorded of it, bit for bit, and nothing else is written."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import visits as visits_world

from tallywright.errors import GateRefusedError, InputError, UsageError
from tallywright.lifecycle.context import RunContext
from tallywright.lifecycle.plan import Pipeline
from tallywright.lifecycle.reproduction.reproduce import reproduce
from tallywright.lifecycle.run import run_pipeline
from tallywright.mlflow_client import connect
from tallywright.registry.versions_table import recorded_versions
from tallywright.spec.sections import Costs

pytestmark = [pytest.mark.slow, pytest.mark.long]

STEPS = ("snapshot", "train", "quality_gate", "operations_gate", "refit", "register")


@pytest.fixture
def trained(tmp_path, empty_store):
    """A project with one version, a refit, and its lake."""

    def make(costs=None, **training):
        project, lake = visits_world.ingested(tmp_path, empty_store, baselines=False, refit=True, **training)
        if costs is not None:
            gates = project.spec.gates.model_copy(update={"costs": Costs(**costs)})
            project = replace(project, spec=project.spec.model_copy(update={"gates": gates}))
        context = RunContext(project, visits_world.AS_OF, "training")
        try:
            run_pipeline(context, Pipeline.TRAIN, only=STEPS)
        except GateRefusedError:
            pytest.fail("the small world's model is refused: there is no refit to make again")
        return project, lake

    return make


def written(project):
    """Every file of the project, and every run of MLflow."""
    storage = project.environment.storage
    files = {str(path): path.stat().st_mtime_ns for path in Path(storage.lake).rglob("*") if path.is_file()}
    client = connect(project.environment.tracking.uri)
    runs = [run for one in client.search_experiments() for run in client.search_runs([one.experiment_id])]
    return files, {run.info.run_id: (run.info.status, run.info.end_time, len(run.data.metrics)) for run in runs}


@pytest.mark.parametrize("estimator", [None, {"kind": "lightgbm", "rounds": 20}], ids=["torch", "lightgbm"])
def test_both_packages_of_a_version_are_made_again_bit_for_bit(trained, estimator):
    project, lake = trained(**({} if estimator is None else {"estimator": estimator}))
    row, before = recorded_versions(lake, project.spec)[1], written(project)
    # What stands in the project's folder by now is not what was trained: the recorded code is.
    (project.folder / "network.py").write_text("raise SystemExit('another network')\n")
    (project.folder / "features.sql").write_text("another query\n")
    found = reproduce(project, lake, 1)
    assert found.reproduced
    assert [one.which for one in found.packages] == ["judged", "refit"]
    assert [one.recorded for one in found.packages] == [row.judged_digest, row.package_digest]
    assert all(one.made == one.recorded and one.same_bits for one in found.packages)
    assert found.packages[0].figures > 10
    assert written(project) == before


def test_searched_parameters_and_a_threshold_by_costs_are_found_again(trained):
    """Nothing is searched: a search that is bounded by minutes might end elsewhere."""
    tuning = {"space": {"learning_rate": {"low": 0.02, "high": 0.3, "log": True}}, "trials": 3, "minutes": 60}
    project, lake = trained(
        estimator={"kind": "lightgbm", "rounds": 20}, tuning=tuning, costs={"false_positive": 1, "false_negative": 7}
    )
    runs = written(project)[1]
    found = reproduce(project, lake, 1)
    assert all(one.made == one.recorded and one.same_bits for one in found.packages)
    assert written(project)[1] == runs


def test_a_spec_and_a_machine_that_have_moved_on_are_named(trained):
    project, lake = trained(estimator={"kind": "lightgbm", "rounds": 20})
    seed = project.spec.training.model_copy(update={"seed": 99, "window_days": 5})
    limits = project.spec.gates.model_copy(update={"min_gain": 0.5})
    run = recorded_versions(lake, project.spec)[1].run_id
    connect(project.environment.tracking.uri).set_tag(run, "environment.lightgbm", "1.0.0")
    later = replace(project, spec=project.spec.model_copy(update={"training": seed, "gates": limits}))
    found = reproduce(later, lake, 1)
    assert found.reproduced
    assert found.environment["environment.lightgbm"][0] == "1.0.0"
    assert {one.differing for one in found.packages} == {("demands.json",)}
    assert not any(one.made == one.recorded for one in found.packages)


def test_another_seed_is_no_reproduction_and_the_figures_say_how_far(trained, monkeypatch):
    from tallywright.lifecycle.reproduction import as_trained

    project, lake = trained(estimator={"kind": "lightgbm", "rounds": 20, "params": {"bagging_fraction": 0.5,
                                                                                  "bagging_freq": 1}})  # fmt: skip
    recorded = as_trained.project_as_trained

    def other_seed(*given):
        found = recorded(*given)
        training = found.spec.training.model_copy(update={"seed": 99})
        return found.with_spec(found.spec.model_copy(update={"training": training}), found.folder)

    monkeypatch.setattr("tallywright.lifecycle.reproduction.reproduce.project_as_trained", other_seed)
    found = reproduce(project, lake, 1)
    assert not found.reproduced
    judged = found.packages[0]
    assert "model.onnx" in judged.differing
    assert judged.weights > 0
    assert 0 < judged.scores < 1
    assert any(one != other for one, other in judged.metrics.values())
    assert np.isfinite(found.packages[1].scores)


def test_data_that_are_gone_are_named(trained):
    project, lake = trained(estimator={"kind": "lightgbm", "rounds": 20})
    with pytest.raises(UsageError, match="this lake has no version 7"):
        reproduce(project, lake, 7)
    day = next(Path(lake.uri("visits__labels")).glob("score_date=2024-03-05/*.parquet"))
    day.unlink()
    with pytest.raises(InputError, match=r"which the version was trained on, is gone: 1 files of 2024-03-05") as told:
        reproduce(project, lake, 1)
    assert told.value.found.startswith("visits__labels version ")
    shutil.rmtree(Path(lake.uri("visits__features")) / "_delta_log")
    fresh = type(lake).of(project.environment)
    with pytest.raises(
        InputError, match=r"visits__features version \d+, which the version was trained on, cannot be read"
    ):
        reproduce(project, fresh, 1)
