"""The training in a process of its own: whatever the network does to its process, the command knows and says so."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from tallywright.errors import EngineError, SpecError
from tallywright.training.apart import process as apart
from tallywright.training.apart import worker
from tallywright.training.apart.process import TrainingProcess

pytestmark = pytest.mark.slow

NETWORK = Path("network.py")


LATE = b"""NETWORK
class Late(Network):
    calls = 0
    def forward(self, *given):
        if self.training and len(given[0]) > 64:
            Late.calls += 1
        if Late.calls > 1:
            import os
            os._exit(0)
        return super().forward(*given)
build = Late
"""


class _Ended:
    def __init__(self, code: int) -> None:
        self.code = code

    def wait(self) -> int:
        return self.code

    def poll(self) -> int | None:
        return self.code


class _Running:
    def poll(self) -> int | None:
        return None


RUNNING = _Running()


def _told(*messages: dict[str, object] | None, process: object = RUNNING) -> TrainingProcess:
    """A process that has said this much, and has ended where the last message is None."""
    made = TrainingProcess(NETWORK, timedelta(seconds=100))
    for message in messages:
        made._heard.put(message)
    made._process = process  # type: ignore[assignment]
    return made


@pytest.mark.parametrize(
    ("code", "error", "told"),
    [
        (0, SpecError, "network.py ends the process (exit code 0) while trying network.py"),
        (7, SpecError, "network.py ends the process (exit code 7) while trying network.py"),
        (-signal.SIGKILL, EngineError, "was ended by SIGKILL while trying network.py"),
        (-signal.SIGSEGV, EngineError, "was ended by SIGSEGV while trying network.py"),
    ],
)
def test_an_end_without_a_result_is_never_a_success(code: int, error: type[Exception], told: str) -> None:
    doing = {"kind": worker.DOING, "what": "trying network.py", "limit": None}
    with pytest.raises(error) as refused:
        _told(doing, None, process=_Ended(code))._until(worker.RESULT, "x")
    assert told in str(refused.value)


def test_what_takes_longer_than_it_may_is_stopped_and_named(heard: pytest.LogCaptureFixture, monkeypatch) -> None:
    monkeypatch.setattr(apart, "SILENT_SECONDS", 0.1)
    doing = {"kind": worker.DOING, "what": "trying network.py", "limit": 0.5}
    with pytest.raises(SpecError, match=r"network\.py: trying network\.py has taken \d s; it may take 0 s"):
        _told(doing)._until(worker.RESULT, "x")
    assert any(record.getMessage().startswith("still trying network.py, for ") for record in heard.records)


def test_an_error_of_the_training_is_the_same_here() -> None:
    message = {
        "kind": worker.ERROR,
        "type": "InputError",
        "found": "a",
        "expected": "b",
        "remedy": "c",
        "checks": ["d"],
    }
    with pytest.raises(apart.errors.InputError) as refused:
        _told(message)._until(worker.RESULT, "x")
    error = refused.value
    assert (error.found, error.expected, error.remedy, error.checks) == ("a", "b", "c", ("d",))


def test_a_package_that_is_missing_there_is_missing_here() -> None:
    with pytest.raises(ModuleNotFoundError) as missing:
        _told({"kind": worker.MISSING, "name": "torch", "text": "No module named 'torch'"})._until(worker.RESULT, "x")
    assert missing.value.name == "torch"


def test_a_process_that_ends_at_once_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_START", "import os; os._exit(0)")
    with pytest.raises(SpecError, match=r"network\.py ends the process \(exit code 0\) while importing"):
        TrainingProcess(NETWORK, timedelta(seconds=100)).__enter__()


def test_a_process_that_ended_is_not_waited_for_by_what_it_left_running(monkeypatch: pytest.MonkeyPatch) -> None:
    left = "import os, time\nif os.fork() == 0:\n    time.sleep(60)\nos._exit(0)"
    monkeypatch.setattr(apart, "_START", left)
    monkeypatch.setattr(apart, "_LAST_WORDS", 0.1)
    with pytest.raises(SpecError, match=r"network\.py ends the process \(exit code 0\) while importing"):
        TrainingProcess(NETWORK, timedelta(seconds=100)).__enter__()


def test_what_a_network_writes_among_the_messages_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    junk = b"hello\n\xff\n[]\n{}\n" + b"[" * 100_000 + b"\n"
    ready = json.dumps({"kind": worker.READY}).encode() + b"\n"
    start = f"import os, time; os.write(1, {junk!r}); os.write(1, {ready!r}); time.sleep(60)"
    monkeypatch.setattr(apart, "_START", start)
    with TrainingProcess(NETWORK, timedelta(seconds=100)) as process:
        assert process._heard.empty()


def test_a_process_that_is_stopped_at_its_very_end_says_nothing() -> None:
    stopped = """
import os, signal, sys
from tallywright.training.apart import worker
class Stops:
    def flush(self): os.kill(os.getpid(), signal.SIGTERM)
worker._train = lambda messages: setattr(sys, "stdout", Stops())
worker.main()
"""
    done = subprocess.run([sys.executable, "-c", stopped], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, "")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample project, ingested, with few epochs."""
    root = tmp_path_factory.mktemp("apart") / "shop"
    tally(root.parent, "init", str(root))
    few = ["--set", "data.lookback_days=1"]
    tally(root, "ingest", "late_orders", "--from", "2025-02-15", "--to", "2025-03-31", *few)
    return root


def tally(root: Path, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tallywright", *arguments], cwd=root, capture_output=True, text=True, check=False,
        env=os.environ | {"TALLYWRIGHT_ROOT": str(root) if root.name == "shop" else ""},
    )  # fmt: skip
    assert code in (None, done.returncode), done.stderr
    return done


FEW = [
    "--date", "2025-04-01", "--json", "--no-promote",
    *("--set", "training.window_days=28", "--set", "training.baselines=false", "--set", "training.estimator.epochs=2"),
]  # fmt: skip


def train_with(shop: Path, tmp_path: Path, text: bytes) -> subprocess.CompletedProcess[str]:
    root = tmp_path / "shop"
    shutil.copytree(shop, root)
    network = root / "models" / "late_orders" / "network.py"
    # What comes before a network may not come before its `from __future__`.
    network.write_bytes(
        text.replace(b"NETWORK", network.read_bytes().replace(b"from __future__ import annotations\n", b""))
    )
    return tally(root, "train", "late_orders", *FEW, code=None)


@pytest.mark.long
def test_a_network_that_ends_its_process_is_no_success(shop: Path, tmp_path: Path) -> None:
    done = train_with(shop, tmp_path, b"NETWORK\ndef build(dims):\n    import os; os._exit(0)\n")
    assert done.returncode == 3
    assert "network.py ends the process (exit code 0) while trying network.py on a handful of rows" in done.stderr
    assert json.loads(done.stdout)["error"]["type"] == "SpecError"


def test_validate_tries_a_network_where_it_is_asked_to(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    tally(tmp_path, "init", str(root))
    network = root / "models" / "late_orders" / "network.py"
    network.write_text(network.read_text().replace("dims.outputs)", "dims.outputs + 1)"))
    assert tally(root, "validate").stdout == "late_orders: valid\n"
    done = tally(root, "validate", "--network", code=3)
    assert "models/late_orders/network.py: forward gives [4, 2] for 4 rows; expected [4, 1]" in done.stderr
    assert not (root / ".tally").exists()


@pytest.mark.long
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"raise SystemExit(0)\nNETWORK", "network.py line 1 ends the process (SystemExit: 0)"),
        (b"raise KeyboardInterrupt\nNETWORK", "network.py line 1: KeyboardInterrupt"),
        (b"# gr\xf6\xdfe\nNETWORK", "network.py line 1: byte 0xf6 is no UTF-8"),
        (b"import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\nNETWORK", "was ended by SIGKILL"),
        (LATE, "network.py ends the process (exit code 0) while epoch"),
    ],
)  # fmt: skip
def test_a_network_that_misbehaves_ends_in_an_error_of_ours(shop: Path, tmp_path: Path, text: bytes, told: str) -> None:
    done = train_with(shop, tmp_path, text)
    assert done.returncode in (3, 13), done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout)["error"]["exit_code"] == done.returncode


@pytest.mark.long
def test_a_network_may_print_wherever_it_likes(shop: Path, tmp_path: Path) -> None:
    text = b"import os, subprocess\nprint('hello')\nos.write(1, b'deep\\n')\nsubprocess.run(['echo', 'below'])\nNETWORK"
    done = train_with(shop, tmp_path, text)
    assert done.returncode in (0, 8), done.stderr  # trained; the gates may think little of it
    assert json.loads(done.stdout)
    assert "INFO    network.py: hello" in done.stderr
    assert {"deep", "below"} <= set(done.stderr.splitlines())
    assert not list((tmp_path / "shop" / "models").rglob("__pycache__"))
