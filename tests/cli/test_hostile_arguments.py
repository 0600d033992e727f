"""A table of hostile arguments, times every argument and option of every command: refused at once, nothing written."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from shared import shared

from tallywright.cli import main as entry
from tallywright.cli.main import COMMANDS, tally

LONG = "x" * 5000
HUGE = "1" + "0" * 30
TEXTS = {
    "empty": "",
    "blank": "  ",
    "dot": ".",
    "dots": "..",
    "slash": "/",
    "long": LONG,
    "up": "../../etc/passwd",
    "dash": "-x",
    "newline": "a\nb",
    "bell": "a\x07b",
    "huge": HUGE,
    "negative": "-1",
    "digits": "1" * 5000,
    "dates": "9999-12-31",
    "no date": "2025-02-30",
    "full": "/dev/full",
    "folder": "models",
    "missing folder": "missing/x",
    "assignment": "=",
    "pattern": "*[a]?",
    "emoji": "🦊",
}
REFUSED = {2, 3, 4, 11}
SECONDS = 5.0
GIVEN = {
    "model": "late_orders",
    "step": "resolve",
    "day": "2025-04-02",
    "first": "2025-04-01",
    "last": "2025-04-02",
    "effective_from": "2025-04-05",
    "version": "1",
    "second": "2",
    "by": "me",
    "reason": "why",
    "key": "o1",
    "sql": "select 1",
    "folder": "made",
}
"""What stands in the place of the arguments that are not tried."""
FREE = {
    # Any text is a text there; one is refused by what it means, which other tests are about.
    "key": set(TEXTS), "sql": set(TEXTS), "arguments": set(TEXTS),
    "by": {*TEXTS} - {"long", "digits", "newline", "bell"},
    "reason": {*TEXTS} - {"long", "digits", "bell"},
    "run_id": {*TEXTS} - {"empty", "blank", "long", "digits", "newline", "bell"},
    # Folders that are there, and files that may be written.
    "root": {"dot", "folder"},
    "result_file": {"dash", "huge", "negative", "dates", "no date", "assignment", "pattern", "emoji", "full"},
    "out": {"dash", "huge", "negative", "dates", "no date", "assignment", "pattern", "emoji", "full"},
    "folder": {*TEXTS} - {"empty", "blank", "dot", "long", "digits", "newline", "bell", "pattern", "full"},
    "name": {"folder"},
}  # fmt: skip
OF_A_FORM = (("run",), "source", "empty")
"""What a form of Airflow left empty is none."""


@dataclass(frozen=True)
class Try:
    """One parameter of one command, and the name of a hostile value for it."""

    command: tuple[str, ...]
    parameter: str
    text: str

    def __str__(self) -> str:
        return f"{' '.join(self.command)} {self.parameter} {self.text}"


def commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(tally)
    for name in COMMANDS:
        command = tally.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from (((name, inner), one) for inner, one in command.commands.items())
        else:
            yield (name,), command


def tries() -> list[Try]:
    return [
        Try(path, str(parameter.name), text)
        for path, command in commands()
        for parameter in command.params
        if not getattr(parameter, "is_flag", False) or parameter.name == "unpause"
        for text in TEXTS
        if text not in FREE.get(str(parameter.name), ())
        and (path, text) != (("history",), "dates")
        and (path, parameter.name, text) != OF_A_FORM
    ]


def line_of(one: Try) -> list[str]:
    command = dict(commands())[one.command]
    given: list[str] = []
    options: list[str] = []
    for parameter in command.params:
        value = TEXTS[one.text] if parameter.name == one.parameter else GIVEN.get(str(parameter.name), "1")
        values = [value, "1"] if parameter.nargs == 2 else [value]
        if isinstance(parameter, click.Argument):
            given += values if parameter.required or parameter.name == one.parameter else []
        elif parameter.name == one.parameter or parameter.required:
            options += [f"{parameter.opts[-1]}={value}"] if len(values) == 1 else [parameter.opts[-1], *values]
    if {"first", "last"} <= {parameter.name for parameter in command.params} and "--date" in {
        option for parameter in command.params for option in parameter.opts
    }:
        if one.parameter in ("first", "last"):
            other = "last" if one.parameter == "first" else "first"
            options.append(f"{'--to' if other == 'last' else '--from'}={GIVEN[other]}")
        elif one.parameter != "day":
            options.append(f"--date={GIVEN['day']}")
    return [*one.command, *options, "--", *given]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile") / "shop"
    subprocess.run([sys.executable, "-m", "tallywright", "init", str(root)], check=True, capture_output=True)
    return shared(root)


def tree(root: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_mtime_ns) for path in root.parent.rglob("*"))


def refuse(one: Try, shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What is wrong with how the command took it; empty when nothing is."""
    monkeypatch.chdir(shop)
    monkeypatch.setattr(sys, "argv", ["tally", *line_of(one)])
    before, begun = tree(shop), time.process_time()  # of this process: neighbours have no part in it
    try:
        code = entry._answered()
    except SystemExit as ended:
        code = int(ended.code or 0)
    taken, told = time.process_time() - begun, capsys.readouterr()
    if code not in REFUSED:
        return f"exit {code}: {told.err[-300:]}"
    if taken > SECONDS:
        return f"{taken:.0f} s"
    written = {*tree(shop)} ^ {*before}
    if written:
        return f"written: {sorted(written)[:3]}"
    if not told.err or len(told.err) > 20_000:
        return f"{len(told.err)} characters of an error"
    return ""


def all_refused(chosen: list[Try], shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    wrong = {str(one): problem for one in chosen if (problem := refuse(one, shop, monkeypatch, capsys))}
    assert wrong == {}


def test_a_sample_of_the_table_is_refused(shop, monkeypatch, capsys) -> None:
    found = tries()
    assert len(found) > 1500
    # Every parameter of every command with two of the values, which differ from parameter to parameter.
    all_refused(found[::9], shop, monkeypatch, capsys)


@pytest.mark.long
@pytest.mark.parametrize("start", range(9))
def test_the_whole_table_is_refused(start: int, shop, monkeypatch, capsys) -> None:
    all_refused(tries()[start::9], shop, monkeypatch, capsys)


def run(root: Path, *arguments: str, shell: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "tallywright", *arguments]
    return subprocess.run(
        ["sh", "-c", f'"$@" {shell}', "sh", *line], cwd=root, capture_output=True, text=True, check=False,
        env=os.environ | environment,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("shell", "code", "told"),
    [
        ("> /dev/full", 11, "standard output cannot be written: No space left on device"),
        (">&-", 11, "standard output cannot be written: it is closed"),
        ("2> /dev/full", 0, ""),
        ("2>&-", 0, ""),
        ("<&-", 0, ""),
    ],
)
def test_what_the_shell_does_to_the_standard_streams(shop: Path, shell: str, code: int, told: str) -> None:
    done = run(shop, "validate", shell=shell)
    assert (done.returncode, told in done.stderr) == (code, True), done.stderr
    if code == 0:
        assert done.stdout == "late_orders: valid\n"


def test_the_working_folder_is_gone(shop: Path, tmp_path: Path) -> None:
    script = f'mkdir gone && cd gone && rmdir ../gone && "{sys.executable}" -m tallywright validate'
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, "the working folder does not exist any more" in done.stderr) == (2, True), done.stderr
    for way in (f"{script} --root {shop}", f"export TALLYWRIGHT_ROOT={shop} && {script}"):
        done = subprocess.run(["sh", "-c", way], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "late_orders: valid\n"), done.stderr


def test_a_range_of_millions_of_days_is_refused_and_one_that_is_meant_is_not(shop, monkeypatch, capsys) -> None:
    monkeypatch.chdir(shop)

    def answer(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["tally", *arguments])
        assert entry._answered() == 2
        return capsys.readouterr().err

    for command in ("explain", "ingest", "score", "backfill"):
        assert "years after today" in answer(command, "late_orders", "--from", "2025-01-01", "--to", "9999-12-31")
        assert "the range has 3,661 days" in answer(
            command, "late_orders", "--from", "2015-01-01", "--to", "2025-01-08"
        )
    told = answer("backfill", "late_orders", "--from", "2015-01-01", "--to", "2025-01-08", "--any-length")
    assert "no score date 2015-01-01" in told
