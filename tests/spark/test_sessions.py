"""Processes in which more than one session has to live: queries and scoring on Spark, and a JVM that dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from sparks import BRIEF_JVM

from tallywright.cli.init import init

if TYPE_CHECKING:
    from pathlib import Path

    from tallywright.packaging.package import Package

pytestmark = pytest.mark.spark

_BOTH = """
import json, sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from pyspark import SparkContext
from synthetic import make_features, make_request, make_spec, put_day
from tallywright.data.etl.ingest import ingest
from tallywright.data.delta.lake import Lake
from tallywright.packaging.package import load_package
from tallywright.scoring.engines.base import Engines
from tallywright.scoring.day import score_day
from tallywright.spec import load_project
from tallywright.spec.environment import EngineSettings, SparkSettings

conf = {"spark.sql.shuffle.partitions": "3", "spark.driver.memory": "700m", "spark.task.reaper.enabled": "true"}
settings = EngineSettings(spark=SparkSettings(master="local[2,1]", conf=conf))
project = load_project("late_orders", root=Path(sys.argv[1]), environment="local")
spec = project.spec.model_copy(update={"data": project.spec.data.model_copy(update={"engine": "spark"})})
environment = project.environment.model_copy(update={"engine": settings})
project = replace(project, spec=spec, environment=environment)
told = {}

def look(name):
    context = SparkContext._active_spark_context
    told[name] = [context.master, *(context.getConf().get(key) for key in conf)]

day = date(2025, 1, 20)
ingest(project, Lake.of(environment), day, day, progress=lambda *_: look("ingest"))
told["between"] = SparkContext._active_spark_context is None
lake, spec = Lake(sys.argv[2]), make_spec(scoring={"io": sys.argv[4]})
pinned = put_day(lake, spec, make_features(300))
with Engines(settings) as engines:
    request = make_request(lake, spec, pinned, load_package(Path(sys.argv[3])), engine="spark", engines=engines)
    told["action"] = score_day(request).action
    look("score")
    # A day that is ingested while scoring has its session borrows it, and leaves it.
    ingest(project, Lake.of(environment), day, day)
    told["score again"] = score_day(replace(request, force=True)).action
told["after"] = SparkContext._active_spark_context is None
print(json.dumps(told))
"""

_KILLS = """
import json, sys
from datetime import timedelta
from pathlib import Path
from pyspark import SparkContext
from synthetic import DAY, make_features, make_request, make_spec, put_day
from tallywright.data.delta.lake import Lake
from tallywright.errors import TallyError
from tallywright.packaging.package import load_package
from tallywright.scoring import execution
from tallywright.scoring.engines.base import Engines
from tallywright.scoring.engines.spark.driver import SparkEngine
from tallywright.scoring.day import score_day
from tallywright.spec.environment import EngineSettings, SparkSettings

def kill():
    process = SparkContext._gateway.proc
    process.kill()
    process.wait()

ship, failpoint = SparkEngine.ship, execution.failpoint
def ship_and_die(self, job):
    ship(self, job)
    kill()
def die_when_staged(name):
    failpoint(name)
    if name == "staged":
        kill()

lake, io, package = Lake(sys.argv[1]), sys.argv[3], load_package(Path(sys.argv[2]))
spec = make_spec(scoring={"io": io})
told = []
with Engines(EngineSettings(spark=SparkSettings(master="local[2]"))) as engines:
    for number, moment in enumerate(sys.argv[4:]):
        day = DAY + timedelta(days=number)
        pinned = put_day(lake, spec, make_features(300, seed=number), day=day)
        if moment == "before":
            kill()
        SparkEngine.ship = ship_and_die if moment == "ship" else ship
        execution.failpoint = die_when_staged if moment == "staged" else failpoint
        try:
            told.append(score_day(make_request(lake, spec, pinned, package, engine="spark", engines=engines)).action)
        except TallyError as error:
            told.append([type(error).__name__, error.retryable, error.found])
print(json.dumps(told))
"""


def in_a_process_of_its_own(repository: Path, script: str, *arguments: str) -> dict | list:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPARK_")}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env=environment | BRIEF_JVM | {"PYTHONPATH": str(repository / "tests" / "support")},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("io", ["direct", pytest.param("engine", marks=pytest.mark.long)])
def test_queries_and_scoring_in_one_process(repository: Path, tmp_path: Path, package: Package, io: str) -> None:
    CliRunner().invoke(init, [str(tmp_path / "p")], catch_exceptions=False)
    places = (str(tmp_path / "p"), str(tmp_path / "lake"), str(package.folder))
    told = in_a_process_of_its_own(repository, _BOTH, *places, io)
    settings = ["local[2,1]", "3", "700m", "true"]
    assert told == {
        "ingest": settings,
        "between": True,
        "action": "committed",
        "score": settings,
        "score again": "committed",
        "after": True,
    }


@pytest.mark.long
@pytest.mark.parametrize(
    ("io", "kills"),
    [
        ("direct", ["ship", "none", "before"]),
        ("engine", ["ship", "staged", "none"]),
    ],
)
def test_the_days_after_a_jvm_that_died_are_scored(
    repository: Path, tmp_path: Path, package: Package, io: str, kills: list[str]
) -> None:
    """It dies before the tasks start, between two days, or when Spark alone has the scored rows."""
    told = in_a_process_of_its_own(repository, _KILLS, str(tmp_path / "lake"), str(package.folder), io, *kills)
    lost = ["EngineError", True, "the JVM of Spark's driver died"]
    assert told == [lost if kill in ("ship", "staged") else "committed" for kill in kills]
