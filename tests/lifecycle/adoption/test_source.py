"""Where an adopted model is taken from: one file of this machine, or of a version in a registry; never a pickle."""

from __future__ import annotations

from datetime import date

import pytest
import visits as visits_world
from foreign_models import lightgbm_text
from hostile_graphs import HALF, PLACES, halved

from tallywright.errors import PackageError, UsageError
from tallywright.lifecycle.adoption.source import AdoptionRequest, fetched
from tallywright.packaging.linear import linear_onnx
from tallywright.packaging.preprocess import Preprocess
from tallywright.training.estimators.outside_tensors import outside_tensors


@pytest.fixture
def project(tmp_path, empty_store):
    """A project without data."""
    return visits_world.project_in(tmp_path, empty_store)


@pytest.fixture
def graph(tmp_path):
    """An ONNX file."""
    path = tmp_path / "elsewhere.onnx"
    path.write_bytes(linear_onnx(Preprocess(numeric=("amount", "age"), categorical=()), [0, 0], [1, 1], [1, 0], [], 0))
    return path


def asked(onnx=None, mlflow=""):
    return AdoptionRequest(onnx=onnx, mlflow=mlflow, trained_through=date(2024, 3, 6), by="ann")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\x80\x04\x95", "is a pickle"),
        (b"PK\x03\x04", "is a zip archive"),
        (b"", "is empty"),
    ],
)
def test_a_pickle_is_never_looked_into(project, graph, tmp_path, content, told):
    graph.write_bytes(content)
    with pytest.raises(PackageError, match=told):
        fetched(project, asked(graph), tmp_path)


def test_a_source_is_named_once_and_there(project, graph, tmp_path):
    for request in (asked(), asked(graph, "models:/m/1")):
        with pytest.raises(UsageError, match="two sources, or none"):
            fetched(project, request, tmp_path)
    with pytest.raises(UsageError, match="there is no file"):
        fetched(project, asked(tmp_path / "nothing"), tmp_path)
    with pytest.raises(UsageError, match="is no address of a model version"):
        fetched(project, asked(mlflow="models:/m"), tmp_path)


def registered(project, files):
    """A version that somebody else has put into the registry: files below a run, as data."""
    from tallywright.mlflow_client import connect

    client = connect(project.environment.tracking.uri)
    folder = project.root / "theirs"
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    experiment = client.create_experiment("theirs", artifact_location=(project.root / "art").as_uri())
    run = client.create_run(experiment).info.run_id
    client.log_artifacts(run, str(folder), artifact_path="model")
    client.create_registered_model("theirs")
    client.create_model_version("theirs", source=f"runs:/{run}/model", run_id=run)
    client.set_registered_model_alias("theirs", "best", "1")


def test_the_file_of_a_registered_version_is_read_and_nothing_else(project, tmp_path):
    text = lightgbm_text("binary")
    registered(
        project,
        {
            "MLmodel": b"flavors: {lightgbm: {data: model.lgb, model_class: lightgbm.basic.Booster}}",
            "model.lgb": text,
            "python_model.pkl": b"\x80",
        },
    )
    for address in ("models:/theirs/1", "models:/theirs@best"):
        adopted = fetched(project, asked(mlflow=address), tmp_path / "work")
        assert (adopted.source, adopted.library) == ("models:/theirs/1", "lightgbm")
        assert adopted.path.read_bytes() == text
    assert not list((tmp_path / "work").rglob("*.pkl"))
    for absent, told in (("theirs/7", "one of the versions 1"), ("theirs@worst", "or of the aliases best")):
        with pytest.raises(UsageError) as refused:
            fetched(project, asked(mlflow=f"models:/{absent}"), tmp_path / "work")
        assert told in refused.value.expected
    with pytest.raises(UsageError, match="the registry has no model it's"):
        fetched(project, asked(mlflow="models:/it's/1"), tmp_path / "work")


def test_tensors_beside_a_graph_are_taken_in(project, graph, tmp_path):
    import onnx

    model = onnx.load_model_from_string(graph.read_bytes())
    apart = tmp_path / "apart" / "model.onnx"
    apart.parent.mkdir()
    onnx.save_model(model, apart, save_as_external_data=True, location="tensors", size_threshold=0)
    assert (apart.parent / "tensors").exists()
    whole = onnx.load_model_from_string(fetched(project, asked(apart), tmp_path).path.read_bytes())
    assert not any(one.external_data for one in whole.graph.initializer)
    assert fetched(project, asked(tmp_path / "apart/../apart/model.onnx"), tmp_path).source == apart.as_uri()
    (apart.parent / "tensors").unlink()
    with pytest.raises(PackageError, match="cannot be read as ONNX"):
        fetched(project, asked(apart), tmp_path)


@pytest.mark.parametrize("place", sorted(PLACES))
def test_tensors_are_taken_in_wherever_they_are_named(project, graph, tmp_path, place):
    """And nothing from anywhere else: not by a path that leads out, not through a link."""
    import onnx

    apart = tmp_path / "apart"
    apart.mkdir()
    (tmp_path / "outside").write_bytes(HALF)
    (apart / "beside").write_bytes(HALF)
    (apart / "link").symlink_to(tmp_path / "outside")
    (apart / "model.onnx").write_bytes(halved(graph.read_bytes(), place, "beside"))
    content = fetched(project, asked(apart / "model.onnx"), tmp_path).path.read_bytes()
    assert HALF in content
    assert not list(outside_tensors(onnx.load_model_from_string(content)))
    for elsewhere in ("../outside", str(tmp_path / "outside"), "link", "absent"):
        (apart / "model.onnx").write_bytes(halved(graph.read_bytes(), place, elsewhere))
        with pytest.raises(PackageError, match="cannot be read as ONNX"):
            fetched(project, asked(apart / "model.onnx"), tmp_path)


def test_tensors_that_are_too_large_together_are_not_taken_in(project, graph, tmp_path, monkeypatch):
    (tmp_path / "beside").write_bytes(HALF)
    graph.write_bytes(halved(graph.read_bytes(), "attribute", "beside"))
    monkeypatch.setattr("tallywright.lifecycle.adoption.source.MOST_BYTES", len(graph.read_bytes()) + 1)
    with pytest.raises(PackageError, match="with its data"):
        fetched(project, asked(graph), tmp_path)
