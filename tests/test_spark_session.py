"""The Spark session: how it is set up, that its JVM never outlives its process, and how its jars are staged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import psutil
import pytest
from sparks import QUIET_BRIEF_JVM

from tallywright.errors import StorageError, UsageError
from tallywright.spark_session import delta_jars, stage_jars
from tallywright.spark_session.jars import IVY_SETTINGS_VARIABLE, JARS_VARIABLE
from tallywright.spark_session.session import _settings

SPARK = metadata.version("pyspark").rpartition(".")[0]
DELTA = metadata.version("delta-spark")
NAMES = [f"delta-spark_{SPARK}_2.13-{DELTA}.jar", f"delta-storage-{DELTA}.jar"]


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository on disk, with jars that say who they are, and the Ivy settings that name it."""
    for name in NAMES:
        module = name.removesuffix(f"-{DELTA}.jar")
        folder = tmp_path / "mirror" / "io" / "delta" / module / DELTA
        folder.mkdir(parents=True)
        (folder / name).write_text(f"the jar of {module}")
    settings = tmp_path / "ivysettings.xml"
    settings.write_text(
        '<ivysettings><settings defaultResolver="mirror"/><resolvers><filesystem name="mirror" m2compatible="true">'
        f'<artifact pattern="{tmp_path}/mirror/[organisation]/[module]/[revision]/[artifact]-[revision].[ext]"/>'
        "</filesystem></resolvers></ivysettings>"
    )
    monkeypatch.setenv(IVY_SETTINGS_VARIABLE, str(settings))
    return tmp_path / "mirror"


@pytest.mark.spark
@pytest.mark.usefixtures("mirror")
def test_jars_are_staged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "jars"
    monkeypatch.setenv(JARS_VARIABLE, str(folder))
    with pytest.raises(UsageError, match=NAMES[0]) as missing:
        delta_jars()
    assert "--stage" in missing.value.remedy
    done = subprocess.run(
        [sys.executable, "-m", "tallywright.spark_session", "--stage"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(folder / name) for name in NAMES] == list(map(str, delta_jars()))
    assert (folder / NAMES[1]).read_text() == "the jar of delta-storage"
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)
    monkeypatch.setenv("PATH", "")  # no Java any more, and none is needed for a folder that is complete
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert delta_jars() == [folder / name for name in NAMES]


@pytest.mark.spark
def test_a_jar_that_nobody_has(mirror: Path, tmp_path: Path) -> None:
    (jar,) = mirror.rglob("delta-storage*.jar")
    jar.unlink()
    with pytest.raises(StorageError, match="delta-storage"):
        stage_jars(tmp_path / "jars")
    assert not list((tmp_path / "jars").iterdir())


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="staging jars"):
        stage_jars(tmp_path / "file" / "jars")


@pytest.mark.parametrize(
    ("extra", "variable", "master", "loopback"),
    [
        ({}, "", "local[*]", True),
        ({}, "spark://127.0.0.1:7077", "spark://127.0.0.1:7077", True),
        ({}, "spark://far:7077", "spark://far:7077", False),
        ({"spark.master": "yarn"}, "spark://far:7077", "yarn", False),
        ({"spark.driver.host": "10.0.0.1"}, "local[2]", "local[2]", True),
    ],
)
def test_which_master_and_where_it_binds(
    monkeypatch: pytest.MonkeyPatch, extra: dict[str, str], variable: str, master: str, *, loopback: bool
) -> None:
    monkeypatch.setenv("SPARK_MASTER", variable)
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    settings = _settings(extra, delta=False)
    assert settings["spark.master"] == master
    assert settings.get("spark.driver.bindAddress") == ("127.0.0.1" if loopback else None)
    assert settings.items() >= extra.items()
    named = _settings(extra, "spark://named:7077", delta=False)
    assert named["spark.master"] == extra.get("spark.master", "spark://named:7077")


_LIVES = """
import json, os, signal, sys
from pyspark import SparkContext
from tallywright.spark_session import end_session, session_lives, session_runs, spark_session
told = []
def start(**wanted):
    session = spark_session("here", {"spark.sql.shuffle.partitions": "3"}, master="local[1]", **wanted)
    assert session_runs() and session_lives(session)
    assert session.range(5).count() == 5
    told.append(session.sparkContext._gateway.proc.pid)
    return session
first = start()
end_session(first)
assert not session_runs() and not session_lives(first) and SparkContext._gateway is None
second = start(delta=True)
assert session_lives(second) and not session_lives(first)
end_session(first)
assert session_lives(second)
os.kill(told[-1], signal.SIGKILL)
SparkContext._gateway.proc.wait()
assert not session_lives(second)
third = start()
third.sparkContext._jsc.sc().stop()
assert not session_lives(third) and not session_runs()
start(delta=True)
print(json.dumps(told))
"""


@pytest.mark.long
@pytest.mark.spark
def test_a_session_that_ended_or_died_makes_room_for_the_next(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPARK_")} | QUIET_BRIEF_JVM
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", _LIVES],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=environment, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout)
    assert len(set(told)) == 4
    assert not [pid for pid in told[:-1] if _runs(pid)]
    assert "Traceback" not in done.stderr


_SCRIPT = """
import contextlib, json, sys, time
import psutil
from tallywright.spark_session import spark_session
session = spark_session("here", {"spark.master": "local[1]", "spark.hadoop.fs.s3a.secret.key": "hunter2pw"})
lines, listens = [], []
for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
    with contextlib.suppress(psutil.Error):  # a helper that has ended meanwhile
        connections = process.net_connections("tcp")
        lines.append(" ".join(process.cmdline()))
        listens += [one.laddr.ip for one in connections if one.status == "LISTEN"]
secret = session.sparkContext._jsc.hadoopConfiguration().get("fs.s3a.secret.key")
answer = session.sql("SELECT CAST(timestamp '2024-06-01 12:00:00' AS STRING) AS t, current_timezone() AS z").first()
assert spark_session("again", {"spark.sql.shuffle.partitions": "5"}) is session
print(json.dumps({"jvm": session.sparkContext._gateway.proc.pid, "zone": answer.z, "time": answer.t,
                  "lines": lines[1:], "listens": listens, "secret": secret,
                  "ui": session.sparkContext.uiWebUrl, "partitions": session.conf.get("spark.sql.shuffle.partitions")}))
sys.stdout.flush()
time.sleep(0 if sys.argv[1] == "end" else 60)
"""


@pytest.mark.spark
@pytest.mark.parametrize("how", [pytest.param("end", marks=pytest.mark.long), "kill"])
def test_the_jvm_ends_with_its_process(tmp_path: Path, how: str) -> None:
    before = set(tmp_path.iterdir())
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPARK_")} | QUIET_BRIEF_JVM
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, how],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert process.stdout is not None
    said = json.loads(process.stdout.readline())
    if how == "kill":
        assert _runs(said["jvm"])
        process.send_signal(signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (0 if how == "end" else -signal.SIGKILL)
    deadline = time.monotonic() + 30
    while _runs(said["jvm"]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _runs(said["jvm"])
    assert (said["zone"], said["time"], said["ui"], said["partitions"]) == ("UTC", "2024-06-01 12:00:00", None, "5")
    assert said["secret"] == "hunter2pw"  # noqa: S105 - what must not be seen
    assert "spark.master=local[1]" in " ".join(said["lines"])
    assert not [line for line in said["lines"] if "hunter2pw" in line], "every user of the machine can read these"
    assert said["listens"]
    assert {ip.removeprefix("::ffff:") for ip in said["listens"]} == {"127.0.0.1"}
    assert set(tmp_path.iterdir()) == before, "Spark leaves nothing where the command was called"
    noise = [line for line in errors.splitlines() if "incubator" not in line]
    assert not noise


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
