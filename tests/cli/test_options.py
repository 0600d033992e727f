from __future__ import annotations

import json
import sys
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.cli.main import main
from tallywright.cli.options import parse_date
from tallywright.errors import UsageError


@given(st.dates())
def test_an_iso_date_is_read(day: date) -> None:
    assert parse_date(day.isoformat()) == day


@pytest.mark.parametrize(
    "text", ["20130308", "2013-W10-5", "2013-3-8", "8.3.2013", "2013-02-30", "", "2013-03-08 ", "2013-03-08; rm -rf /"]
)
def test_any_other_form_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a date"):
        parse_date(text)


@pytest.mark.parametrize("arguments", [["score", "--json"], ["explain", "flight_delays", "--json", "--bogus"]])
def test_a_command_line_that_is_not_understood_is_json_where_json_is_asked_for(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tally", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    told = json.loads(capsys.readouterr().out)["error"]
    assert (ended.value.code, told["exit_code"], told["type"]) == (2, 2, "UsageError")
    assert told["found"]
