"""The worker image's environment, built on this machine by the Dockerfile's own lines: it is slim, and it scores."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from containers import Stage, copies
from deltalake import DeltaTable
from synthetic import DAY, content_of, make_features, make_package, make_request, make_spec, put_day

from tallywright.data.delta.lake import Lake
from tallywright.scoring.day import score_day

pytestmark = pytest.mark.slow
NOT_SLIM = {
    *("apache-airflow", "apache-airflow-core", "apache-beam", "great-expectations", "mlflow", "mlflow-skinny"),
    *("pandas", "pyspark", "pytest", "scikit-learn", "torch"),
}


def copy_context(stage: Stage, repository: Path, target: Path) -> None:
    """The COPY instructions of a stage, into its working folder."""
    for copied in copies(stage):
        for source in copied.sources:
            place = target / copied.target / (Path(source).name if copied.target.endswith("/") else "")
            place.parent.mkdir(parents=True, exist_ok=True)
            if (repository / source).is_dir():
                shutil.copytree(repository / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(repository / source, place)


@pytest.fixture(scope="module")
def worker(repository: Path, stages: dict[str, Stage], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment made by the stages `build` and `build-worker`."""
    uv = repository / ".uv/bin/uv"
    if not uv.exists():
        pytest.skip("no .uv/bin/uv (make brings it): the worker image's environment was not built")
    root = tmp_path_factory.mktemp("worker")
    places = {"/opt/tallywright": str(root / "venv"), "/usr/local/bin/python3": sys.executable, "/build": str(root)}

    def translated(text: str) -> str:
        for old, new in places.items():
            text = text.replace(old, new)
        return text

    copy_context(stages["build"], repository, root)
    settings = dict(word.split("=", 1) for line in stages["build"].all("ENV") for word in line.split())
    environment = os.environ | {name: translated(text) for name, text in settings.items() if name.startswith("UV_")}
    for line in stages["build-worker"].all("RUN"):
        for command in re.sub(r"--mount=\S+", "", line).split("&&"):
            program, *words = shlex.split(translated(command))
            assert program == "uv"
            done = subprocess.run(
                [str(uv), *words], cwd=root, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
    return root / "venv/bin/python"


def test_it_holds_the_slim_core_alone(worker: Path) -> None:
    code = "import json, importlib.metadata as m; print(json.dumps([d.name.lower() for d in m.distributions()]))"
    found = set(json.loads(subprocess.run([worker, "-c", code], capture_output=True, text=True, check=True).stdout))
    assert {"tallywright", "pyarrow", "deltalake", "onnxruntime", "duckdb"} <= found
    assert not found & NOT_SLIM
    version = subprocess.run([worker.parent / "tally", "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("tally, version ")


def test_it_scores_the_same_bits(worker: Path, repository: Path, tmp_path: Path) -> None:
    package, spec = make_package(tmp_path / "package"), make_spec(scoring={"workers": 2, "batch_rows": 256})
    features = make_features(2_000)
    here, there = Lake(str(tmp_path / "here")), Lake(str(tmp_path / "lake"))
    score_day(make_request(here, spec, put_day(here, spec, features), package))
    pinned = put_day(there, spec, features)
    (tmp_path / f"input-{DAY}.json").write_text(pinned.to_json())
    driver = [worker, repository / "tests/faults/driver.py", "score", tmp_path]
    done = subprocess.run(driver, input="go\n", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    contents = [content_of(DeltaTable(lake.uri(spec.table("scores"))), DAY) for lake in (here, there)]
    assert contents[0] == contents[1]
    assert contents[0].startswith("2000 rows")
