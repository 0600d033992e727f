"""What a command prints is what the tables hold."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from tallywright.cli.console import show_record, show_rows

MARKUP = ["pip install 'tallywright[spark]'", "[bold]not bold[/bold]", "a [/b] c", "[link=x]y", "\\[x]", "[1, 2]"]


@pytest.mark.parametrize("text", MARKUP)
def test_a_text_in_brackets_is_no_markup(text: str, capsys) -> None:
    show_rows([{"to do": text, text: 1}], as_json=False, title=text)
    assert capsys.readouterr().out.count(text) == 3


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (12755.0, "12,755"), (131700.4, "131,700"), (0.76243, "0.7624"), (3.0, "3"), (1e-5, "1e-05"), (3e297, "3e+297"),
        (-20000.0, "-20,000"), (float("nan"), "nan"), (float("-inf"), "-inf"), (1234567, "1,234,567"),
        (None, "–"), (True, "True"),
    ],
)  # fmt: skip
def test_numbers_are_written_for_people(value: object, shown: str, capsys) -> None:
    show_record({"value": value}, as_json=False)
    assert capsys.readouterr().out.split()[-1] == shown


def test_yes_and_no_in_a_line_of_values_say_about_what(capsys) -> None:
    show_record({"files": [{"name": "a", "ours": True}, {"name": "b", "ours": False}]}, as_json=False)
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [["a", "ours"], ["b", "not", "ours"]]


def test_json_holds_the_exact_values(capsys) -> None:
    show_rows([{"a": 0.1 + 0.2, "b": float("nan"), "c": "[x]"}], as_json=True)
    assert json.loads(capsys.readouterr().out) == [{"a": 0.1 + 0.2, "b": None, "c": "[x]"}]


def test_keys_are_printed_so_that_they_can_be_pasted(capsys) -> None:
    text = "word " * 200
    instant = datetime(2025, 4, 3, 4, 0, 0, 7, tzinfo=UTC)
    show_rows(
        [{"id": 9007199254740993, "key": text, "at": instant, "note": text}], as_json=False, whole={"id", "key", "at"}
    )
    shown = capsys.readouterr().out
    assert "9007199254740993" in shown
    assert text.strip() in shown
    assert instant.isoformat() in shown
