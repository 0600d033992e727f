"""On a standalone cluster of real processes: the same bits as `local`, whoever moves the rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from object_store import SECRET, Bucket
from sparks import standalone_cluster
from synthetic import make_features, make_package, make_request, make_spec, put_day, read_scores

from tallywright.data.delta.lake import Lake
from tallywright.data.storage.filesystem import filesystem_of
from tallywright.records import Manifest
from tallywright.scoring.day import score_day

pytestmark = [pytest.mark.spark, pytest.mark.long]
WAYS = {"direct": "direct", "engine": "engine", "stored": "direct"}
NOT_ON_EXECUTORS = ("airflow", "apache_beam", "great_expectations", "mlflow", "onnx", "pandas", "sklearn", "torch")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory):
    work = tmp_path_factory.mktemp("cluster")
    with standalone_cluster(work) as address:
        yield work, address


def drive(repository: Path, *arguments: str, **environment: str) -> dict:
    driver = repository / "tests" / "support" / "spark_driver.py"
    done = subprocess.run(
        [sys.executable, str(driver), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env=os.environ | environment | {"PYTHONPATH": str(driver.parent)},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert SECRET not in done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_cluster_gives_the_bits_of_the_local_engine(
    cluster, bucket: Bucket, repository: Path, tmp_path: Path
) -> None:
    """One of the lakes is on an object store, whose credentials only the driver's environment has."""
    work, address = cluster
    package = make_package(tmp_path / "package")
    features = make_features(5000)
    lakes = {name: Lake(str(tmp_path / name)) for name in ("local", "direct", "engine")}
    lakes["stored"] = Lake(f"{bucket.address}/lake", bucket.options)
    for lake in lakes.values():
        pinned = put_day(lake, make_spec(), features)
        filesystem, file = filesystem_of(f"{lake.root}/input.json", lake.options)
        with filesystem.open_output_stream(file) as stream:
            stream.write(pinned.to_json().encode())
    first = score_day(make_request(lakes["local"], make_spec(), pinned, package))
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    for name in NOT_ON_EXECUTORS:
        (blocked / f"{name}.py").write_text("raise ImportError('this executor has the slim install')")
    places = [f"{lakes[name].root}:{io}" for name, io in WAYS.items()]
    told = drive(
        repository,
        address,
        str(package.folder),
        str(blocked),
        *places,
        **bucket.environment,
    )
    rows = read_scores(lakes["local"], make_spec())
    for name, place in zip(WAYS, places, strict=True):
        assert told["outcomes"][place]["action"] == "committed"
        manifest = Manifest.from_json(told["outcomes"][place]["manifest"])
        assert (manifest.key_digest, manifest.profile_digest) == (
            first.manifest.key_digest,
            first.manifest.profile_digest,
        )
        assert_same_bits(read_scores(lakes[name], make_spec()), rows)
    assert told["heavy"] == []
    assert not [log for log in work.rglob("*") if log.is_file() and SECRET.encode() in log.read_bytes()]
    # The package travelled: every executor that scored unpacked it for itself, once.
    arrived = list(work.glob(f"worker-*/app-*/*/tallywright-packages/{package.digest}"))
    assert arrived


def test_a_cluster_ingests_what_duckdb_does(cluster, tmp_path: Path) -> None:
    _, address = cluster
    project = tmp_path / "project"
    told = {}
    for engine in ("duckdb", "spark"):
        arguments = ["--set", f"data.engine={engine}", "--set", f"environment.storage.lake={tmp_path / engine}"]
        if engine == "duckdb":
            tally(["init", str(project)])
        days = ["late_orders", "--from", "2025-01-20", "--to", "2025-01-21", "--root", str(project), "--json"]
        told[engine] = json.loads(tally(["ingest", *days, *arguments], SPARK_MASTER=address).stdout)
    assert [day["rows"] > 50 for day in told["spark"]] == [True, True]
    assert told["spark"] == told["duckdb"]


def tally(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tallywright", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done


def assert_same_bits(ours: pa.Table, theirs: pa.Table) -> None:
    assert ours.schema.names == theirs.schema.names
    for name in ours.schema.names:
        left, right = (table[name].combine_chunks() for table in (ours, theirs))
        if pa.types.is_floating(left.type):
            left, right = (array.view(pa.int32()) for array in (left, right))
        assert left.equals(right), name
