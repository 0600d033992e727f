"""A table for people loses nothing, in a terminal of any width and in a pipe."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from datetime import date

import pytest

from tallywright.cli.console import show_rows
from tallywright.cli.read_commands import _day
from tallywright.cli.table import Column, table_lines

DRIFTED = ("carrier_late_rate_7d", "dew_point", "hour_late_rate_28d", "route_late_rate_28d")
DAY = {
    "score_date": date(2013, 7, 2), "state": "scored", "rows": 945, "mean_score": 0.3529, "model_version": 1,
    "generation": 1, "reason": "first", "drifted_columns": DRIFTED, "realised_auc": 0.7682,
    "realised_metric": "roc_auc", "realised": 0.7682, "decision": "confirmed", "roles": "", "problem": "",
    "not_judged": "", "exit_code": None, "failed_checks": (), "detail": "",
}  # fmt: skip
DAYS = [DAY, DAY | {"score_date": date(2013, 7, 3), "realised": None, "realised_auc": None, "decision": "ok"}]
IDENTIFY = ["2013-07-02", "scored", "945", "0.3529", "1", "0.7682", "confirmed"]


def _shown(rows, width: int | None, monkeypatch, capsys, **others) -> list[str]:
    monkeypatch.delenv("COLUMNS", raising=False)
    if width is not None:
        monkeypatch.setenv("COLUMNS", str(width))
    show_rows(rows, as_json=False, **others)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("width", [80, 100, 120, None])
def test_days_are_readable(width: int | None, monkeypatch, capsys) -> None:
    lines = _shown([_day(row) for row in DAYS], width, monkeypatch, capsys)
    everything = "\n".join(lines)
    assert "…" not in everything
    assert width is None or max(map(len, lines)) <= width
    row = next(line for line in lines if line.startswith("2013-07-02"))
    assert row.split()[: len(IDENTIFY)] == IDENTIFY
    assert all(name in everything for name in DRIFTED)
    assert "reason" in everything
    assert not any(name in everything for name in ("roles", "problem", "exit code", "failed checks", "realised auc"))


def test_a_pipe_has_one_line_a_row(monkeypatch, capsys) -> None:
    lines = _shown([_day(row) for row in DAYS], None, monkeypatch, capsys)
    assert len(lines) == 4
    assert lines[2].endswith(", ".join(DRIFTED))


def test_another_primary_metric_does_not_hide_the_auc() -> None:
    shown = _day(DAY | {"realised_metric": "log_loss", "realised": 0.5})
    assert (shown["realised_log_loss"], shown["realised_auc"]) == (0.5, 0.7682)


def test_programs_get_every_column(capsys) -> None:
    show_rows([DAY], as_json=True)
    assert json.loads(capsys.readouterr().out)[0].keys() == DAY.keys()


def test_a_result_keeps_its_empty_columns(monkeypatch, capsys) -> None:
    assert _shown([{"a": 1, "b": None}], 80, monkeypatch, capsys, whole=())[0].split() == ["a", "b"]
    assert _shown([{"a": 1, "b": None}], 80, monkeypatch, capsys)[0].split() == ["a"]
    assert _shown([{"n_x": 1}], 80, monkeypatch, capsys, whole=(), own_names=True)[0] == "n_x"
    assert _shown([{"a": None}], 80, monkeypatch, capsys)[0].split() == ["a"]


@pytest.mark.parametrize("width", [1, 20, 40, 79, 80, 81, 200])
def test_no_character_is_lost(width: int) -> None:
    columns = [
        Column("id", ("1", "22"), right=True),
        Column("a long name of a column", ("x" * 70, "several words " * 9)),
        Column("note", ("日本語 " * 12, "line\nbreak")),
        Column("key", ("k " * 30, "-"), whole=True),
    ]
    text = "".join("".join(table_lines(columns, width)).split())
    for column in columns:
        for cell in column.cells:
            assert sum(text.count(one) for one in set("".join(cell.split()))) >= len("".join(cell.split()))
    assert any("k " * 29 in line for line in table_lines(columns, width))


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_says_its_width(width: int) -> None:
    code = (
        "import fcntl, struct, termios\n"
        f"fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('HHHH', 24, {width}, 0, 0))\n"
        "from tallywright.cli.console import show_rows\n"
        "show_rows([{'day': '2013-07-02', 'note': 'word ' * 40}], as_json=False)"
    )
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=theirs, env=environment) as process:
        assert process.wait(timeout=60) == 0
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert shown.count("word") == 40
    longest = max(len(line) for line in shown.splitlines() if "word" in line)
    assert width - 10 < longest <= width
