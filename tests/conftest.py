"""What all tests share: random order with a printed seed, hypothesis profiles, no environment leaking in."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from lacking import NOT_RUN_HERE, lacking
from matrix import matrix
from object_store import Bucket, ObjectStore
from shared import shared, written
from sparks import small_session, standalone_cluster

from tallywright import interruption, redaction
from tallywright.errors import UsageError
from tallywright.observability import log

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

settings.register_profile("fast", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("full", max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

STANDALONE = os.environ.get("TALLYWRIGHT_TEST_SPARK") == "standalone"
"""Spark is a master and two workers of one core each, as `make test` has it for the conformance suite."""
REPOSITORY = Path(__file__).resolve().parent.parent


LEFT = pytest.StashKey[int]()
"""How many `long` tests `-m "not long"` has left to `make test-full`."""
LONG_FILES = (("airflow",), ("slow", "spark", "beam"))
"""Marks of files that take long, the longest first."""


def pytest_sessionstart() -> None:
    """Whoever runs the tests in the background of a script has SIGINT ignored, and so would have all their children."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Random order, but files that take long come first: the last file that a worker is given is a short one."""
    marks: dict[Path, set[str]] = {}
    for item in items:
        marks.setdefault(item.path, set()).update(mark.name for mark in item.iter_markers())
    places = {
        path: next((place for place, any_of in enumerate(LONG_FILES) if found & {*any_of}), len(LONG_FILES))
        for path, found in marks.items()
    }
    items.sort(key=lambda item: places[item.path])


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Counts what is left to `make test-full`."""
    left = [item for item in items if item.get_closest_marker("long")]
    if left:
        stash = left[0].config.stash
        stash[LEFT] = stash.get(LEFT, 0) + len(left)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker tells the process that prints the summary."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left"] = session.config.stash.get(LEFT, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Every worker has collected, and left, the same tests."""
    node.config.stash[LEFT] = max(node.config.stash.get(LEFT, 0), getattr(node, "workeroutput", {}).get("left", 0))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Shows what each engine was seen to do; the last lines say what was not run, on this machine or at this time."""
    yield
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    for line in matrix(reports):
        terminalreporter.write_line(line)
    reasons = {str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", [])}
    for reason in sorted(reason for reason in reasons if NOT_RUN_HERE in reason):
        terminalreporter.write_line(reason.removeprefix("Skipped: "), yellow=True)
    left = terminalreporter.config.stash.get(LEFT, 0)
    if left:
        terminalreporter.write_line(f"left to `make test-full`: {left} tests that are long and rarely red")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout, which is also the reference project's root."""
    return REPOSITORY


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The Spark session of this test process, with Delta; nobody else may stop it."""
    work = tmp_path_factory.mktemp("spark")
    master = standalone_cluster(work) if STANDALONE else nullcontext("local[2]")
    with master as address, small_session(work, address, **{"spark.executor.memory": "700m"}) as session:
        yield session


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads the developer's own settings."""
    for name in [name for name in os.environ if name.startswith(("TALLYWRIGHT_", "MLFLOW_", "AIRFLOW", "AWS_"))]:
        if name != "TALLYWRIGHT_KILLS":
            monkeypatch.delenv(name)
    monkeypatch.delenv("COLUMNS", raising=False)  # readline sets it for the workers
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")  # no test asks the network who it is


@pytest.fixture(autouse=True)
def _own_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test gives as a secret is none to the next: it would be taken out of its texts."""
    monkeypatch.setattr(redaction, "_known", set())


@pytest.fixture(autouse=True)
def _own_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that one test leaves running is not left by the next, whose command would end this process at once."""
    monkeypatch.setattr(interruption, "_left", threading.Event())


@pytest.fixture(autouse=True)
def _shared_is_read() -> Iterator[None]:
    """A test that writes into what all tests read is red itself."""
    yield
    assert written() == [], "this test wrote into what others share"


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """What the log says from INFO up; a command that ran in this process before has kept it from pytest."""
    monkeypatch.setattr(log, "propagate", True)
    caplog.set_level("INFO")
    return caplog


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs: its migrations take seconds, so they run once and tests copy the file."""
    from tallywright.mlflow_client import connect

    folder = tmp_path_factory.mktemp("store")
    connect(f"sqlite:///{folder}/mlflow.db").search_experiments()
    return shared(folder / "mlflow.db")


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """A real S3-compatible store, started when the first test of this process asks for it."""
    store = ObjectStore(tmp_path_factory.mktemp("object-store"))
    yield store
    store.stop()


@pytest.fixture
def bucket(object_store: ObjectStore) -> Bucket:
    """An empty bucket for one test."""
    return object_store.bucket()


@pytest.fixture(scope="session")
def prism() -> Path:
    """The program, which `make test` builds where Go is installed."""
    from tallywright.scoring.engines.beam.prism import prism_binary

    try:
        return prism_binary()
    except UsageError:
        lacking("Prism, which `make test` builds where Go is installed", "apt-get install golang")
