"""`tally adopt`: a model from elsewhere becomes a version on the road that every version goes."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path

import pytest
import visits as visits_world
from click.testing import CliRunner

from tallywright.cli.main import tally
from tallywright.data.delta.lake import Lake
from tallywright.errors import GateRefusedError, LeakError, PackageError
from tallywright.lifecycle.adoption.adopt import adopt
from tallywright.lifecycle.adoption.source import AdoptionRequest
from tallywright.lifecycle.context import RunContext, package_of
from tallywright.mlflow_client import connect
from tallywright.packaging.linear import linear_onnx
from tallywright.packaging.preprocess import Preprocess
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.versions_table import recorded_versions
from tallywright.spec.demands import demands_of

pytestmark = pytest.mark.slow

SEEN = date(2024, 3, 6)
"""Two days before the holdout's eve."""


@pytest.fixture
def project(tmp_path, empty_store):
    """A project whose models read two numbers, ingested."""
    columns = {"numeric": ["amount", "age"], "categorical": [], "slices": [], "baselines": False}
    return visits_world.on_disk(tmp_path, empty_store, **columns)[0]


@pytest.fixture
def graph(tmp_path):
    """A file with the ends of a package, that knows what visits are about."""
    path = tmp_path / "elsewhere.onnx"
    path.write_bytes(
        linear_onnx(Preprocess(numeric=("amount", "age"), categorical=()), [0, 0], [1, 1], [1.2, 0], [], -0.2)
    )
    return path


def asked(onnx=None, mlflow="", seen=SEEN):
    return AdoptionRequest(onnx=onnx, mlflow=mlflow, trained_through=seen, by="ann")


def context_of(project):
    return RunContext(project, visits_world.AS_OF, "adopt")


def tally_json(project, *arguments):
    """What a command prints for programs."""
    done = CliRunner().invoke(tally, [*arguments, "--root", str(project.root), "--json"])
    if done.exception is not None:
        raise done.exception
    return json.loads(done.stdout)


def test_a_file_becomes_one_version_that_is_promoted_and_made_again(project, graph):
    command = ("adopt", "visits", "--date", str(visits_world.AS_OF), "--trained-through", str(SEEN), "--onnx")
    found = tally_json(project, *command, str(graph))
    assert (found["version"], found["verdict"], found["source"]) == (1, "passed", graph.as_uri())

    lake = Lake.of(project.environment)
    row = recorded_versions(lake, project.spec)[1]
    package = package_of(project, row.as_ref(project.spec))
    assert package.read("model.onnx") == graph.read_bytes()
    assert (package.fitted_through, package.meta.trained_through) == (SEEN, date(2024, 3, 12))
    assert package.demands.spec == demands_of(project).spec
    origin = package.meta.training_config["adopted"]
    assert (origin["source"], origin["by"], origin["trained_through"]) == (graph.as_uri(), row.author, str(SEEN))
    assert row.reason == f"adopted from {graph.as_uri()}"
    assert {report["gate"] for report in json.loads(row.evidence_json)["reports"]} == {"quality", "operations"}
    assert package.reference.rows == 8 * visits_world.ROWS

    # The same content from another place is the same version, and nothing is done again.
    steps, moved = [], Path(shutil.copy(graph, graph.with_name("moved.onnx")))
    again = adopt(context_of(project), asked(moved), lambda step, _: steps.append(step))
    assert (again["version"], again["digest"], steps) == (1, found["digest"], ["register"])
    assert list(recorded_versions(lake, project.spec)) == [1]

    effective = str(visits_world.AS_OF)
    tally_json(project, "promote", "visits", "--version", "1", "--effective-from", effective, "--by", "ann")
    assert PromotionLog(lake, project.spec).current().package_digest == package.digest
    remade = tally_json(project, "reproduce", "visits", "1")
    assert remade["reproduced"]
    assert [(one["recorded"], one["made"]) for one in remade["packages"]] == [(package.digest, package.digest)]


def test_rows_of_the_holdout_that_it_has_seen_are_a_leak(project, graph):
    with pytest.raises(LeakError) as refused:
        adopt(context_of(project), asked(graph, seen=date(2024, 3, 10)))
    assert "the holdout as of 2024-03-13 is 2024-03-09 to 2024-03-12" in refused.value.found
    assert "--date 2024-03-15" in refused.value.remedy
    assert not recorded_versions(RunContext(project, visits_world.AS_OF, "r").lake, project.spec)


def test_a_refused_file_leaves_a_failed_run_and_no_copy(project, graph, monkeypatch):
    """The training's process refuses it, when the run has its snapshot already."""
    from tallywright.lifecycle.steps import train as step

    monkeypatch.setattr(step, "_trained", lambda *_given: (_ for _ in ()).throw(PackageError("refused")))
    with pytest.raises(PackageError, match="refused"):
        adopt(context_of(project), asked(graph))
    work = Path(project.environment.storage.work)
    assert not [one for one in (work / "runs").rglob("*") if one.is_file()]
    client = connect(project.environment.tracking.uri)
    experiments = [one.experiment_id for one in client.search_experiments()]
    assert [run.info.status for run in client.search_runs(experiments)] == ["FAILED"]


@pytest.mark.long
def test_a_worthless_model_is_registered_and_refused(project, graph):
    bad = linear_onnx(Preprocess(numeric=("amount", "age"), categorical=()), [0, 0], [1, 1], [-3, 0], [], 0)
    graph.write_bytes(bad)
    with pytest.raises(GateRefusedError, match="version 1 of visits is refused"):
        adopt(context_of(project), asked(graph))
    with pytest.raises(GateRefusedError, match="version 1 of visits is refused"):
        adopt(context_of(project), asked(graph))
    assert [one.verdict for one in recorded_versions(RunContext(project, SEEN, "r").lake, project.spec).values()] == [
        "refused"
    ]


@pytest.mark.long
def test_a_killed_adoption_goes_on_where_it_ended(project, graph, monkeypatch):
    """The second command does what the first one has left: nothing is trained or registered twice."""
    from tallywright.lifecycle.steps import register as step

    monkeypatch.setattr(step, "record_version", lambda *_args, **_more: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        adopt(context_of(project), asked(graph))
    monkeypatch.undo()
    steps = []
    found = adopt(context_of(project), asked(graph), lambda name, _: steps.append(name))
    assert (found["version"], steps) == (1, ["quality_gate", "operations_gate", "register"])
