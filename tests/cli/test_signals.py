"""Ctrl-C and SIGTERM are answered in two seconds wherever a command is; arguments that are no text are named."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from tallywright.cli.init import init
from tallywright.cli.main import COMMANDS, tally
from tallywright.interruption import stopped_by

ENDLESS = "(SELECT count(*) FROM range(100000000) a, range(100000) b)"
ANSWERED = 2.0
"""Seconds; the machine of a test may be busy, so several times of that is waited for before it counts as none."""


def start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tallywright", *map(str, arguments)],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def answer(process: subprocess.Popen[str], number: signal.Signals | None = None) -> tuple[str, str]:
    """What a command prints until its end, after a signal where one is given; one that does not answer is killed."""
    if number is not None:
        process.send_signal(number)
    try:
        return process.communicate(timeout=10 * ANSWERED)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until_busy(process: subprocess.Popen[str], seconds: float) -> None:
    """Waits until the command has worked so long: by then it is inside its query."""
    while process.poll() is None and cpu_seconds(process.pid) < seconds:
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signals") / "shop"
    assert CliRunner().invoke(init, [str(folder)]).exit_code == 0
    contract = folder / "models/late_orders/sql/contract.sql"
    contract.write_text(contract.read_text().replace("order_id, ordered_at,", f"{ENDLESS} AS n, order_id, ordered_at,"))
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_query_is_stopped(shop: Path, number: signal.Signals) -> None:
    process = start(shop, "query", f"SELECT {ENDLESS}")
    wait_until_busy(process, 1)
    out, err = answer(process, number)
    assert (process.returncode, out) == (128 + number, "")
    assert err.split() == ["stopped"]


def test_an_ingest_is_stopped_and_leaves_nothing_half_done(shop: Path) -> None:
    before = files(shop)
    process = start(shop, "ingest", "late_orders", "--date", "2025-01-03")
    wait_until_busy(process, 1.2)
    _, err = answer(process, signal.SIGINT)
    assert process.returncode == 130, err
    assert {Path(file).parent.name for file in files(shop) - before} <= {"raw", "staged"}, (
        "whole staged sources and their digests, and nothing else"
    )
    assert not [file for file in files(shop) - before if Path(file).name.startswith(".") or "spill" in file]


def test_a_look_at_the_data_is_stopped_and_leaves_nothing(shop: Path) -> None:
    before = files(shop)
    process = start(shop, "validate", "--data")
    wait_until_busy(process, 1.2)
    _, err = answer(process, signal.SIGINT)
    assert process.returncode == 130, err
    assert files(shop) == before


STUCK = """
import sys, time, tallywright.cli.main as cli, click
class Stuck(click.Command):
    def invoke(self, ctx):
        import duckdb
        print("ready", flush=True)
        {}
cli._LazyGroup.get_command = lambda self, ctx, name: Stuck("x")
sys.argv = ["tally", "x"]
cli.main()
"""
PLACES = {
    "python": "time.sleep(60)",
    "a foreign query": f"duckdb.sql('SELECT {ENDLESS}').fetchall()",
    "code that never comes back": "import ctypes; c, m = ctypes.CDLL(None), (ctypes.c_char * 64)(); "
    "[c.pthread_mutex_lock(m) for _ in range(2)]",
    "cleaning up": "\n        try: time.sleep(60)\n        finally: time.sleep(0.3)",
    "an error of it": "\n        try: time.sleep(60)\n        except KeyboardInterrupt: raise ValueError",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_answered_wherever_the_command_is(place: str, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK.format(PLACES[place])],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    _, err = answer(process, number)
    assert process.returncode == 128 + number, err
    assert err.split()[-1] == "stopped"


def test_what_runs_is_told_to_stop_until_it_has() -> None:
    told: list[int] = []
    with stopped_by(lambda: told.append(1)):
        pass
    assert told == []


@pytest.mark.long
@pytest.mark.parametrize("arguments", [
    ("query", f"SELECT {ENDLESS}"), ("ingest", "late_orders", "--date", "2025-01-03"), ("validate",),
    ("validate", "--data"),
    ("days", "late_orders"),
])  # fmt: skip
def test_at_any_moment(shop: Path, arguments: tuple[str, ...]) -> None:
    """A signal at many moments of a command: it was done, or it has stopped, and nothing else."""
    for _ in range(20):
        number, after = random.choice([signal.SIGINT, signal.SIGTERM]), random.uniform(0.05, 3)
        process = start(shop, *arguments)
        sent = None
        try:
            process.wait(timeout=after)
        except subprocess.TimeoutExpired:
            sent = number
        _, err = answer(process, sent)
        # Before our first line the interpreter itself answers, as a shell says it: 130 or 143.
        assert process.returncode in {0, 3, 128 + number, -number}, (arguments, after, err)
        assert process.returncode != 128 + number or err.split()[-1] == "stopped"


def arguments_of(name: str) -> list[list[str]]:
    """Ways to hand a command a text that is none: as each option's value, and as an argument."""
    command = tally.get_command(None, name)  # type: ignore[arg-type] # not used
    assert command is not None
    options = [parameter.opts[-1] for parameter in command.params if getattr(parameter, "is_flag", None) is False]
    return [["a", "b", "c\udcff"][-1:], *([option, "x\udcff"] for option in options)]


@pytest.mark.parametrize("name", COMMANDS)
def test_an_argument_that_is_no_text_is_a_usage_error(name: str) -> None:
    for arguments in arguments_of(name):
        result = CliRunner().invoke(tally, [name, *arguments])
        assert getattr(result.exception, "exit_code", result.exit_code) == 2, (arguments, result.exception)
        said = str(result.exception)
        assert "is not UTF-8 (byte 0xff at 1)" in said, said
        assert len(arguments) == 1 or arguments[0] in said


def test_the_byte_of_a_query_is_counted_in_the_query(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tallywright", "query", b"select '\xff'"], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b"SQL is not UTF-8 (byte 0xff at 8)" in done.stderr


@pytest.mark.parametrize("limit", ["1000000000000000000000000000000", "0", "-1", "x"])
def test_a_limit_that_no_counter_has(limit: str) -> None:
    result = CliRunner().invoke(tally, ["query", "SELECT 1", f"--limit={limit}"])
    assert result.exit_code == 2
    assert "--limit" in result.output
