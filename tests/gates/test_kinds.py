"""Every kind of expectation that a suite may have, on every type of a spec: judged, shown, and silent.

Where a kind does not fit a column, it is refused when the suite is read. What the library offers beyond our list is
listed too, so that a new version of it is noticed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from judged_kinds import TABLE_CASES, TYPES, cases, table_of, variants

from tallywright.data.types import arrow_type
from tallywright.gates.data_docs import write_day
from tallywright.gates.expectations.kinds import KINDS, REFUSED
from tallywright.gates.expectations.results import UNEVALUATED, CheckFinding
from tallywright.gates.expectations.values import family_of
from tallywright.gates.library import kinds as kinds_of_the_library
from tallywright.gates.suite import checked_suite, suite_problems
from tallywright.gates.validate import SuiteValidator
from tallywright.records import GateReport, Verdict

SAMPLE = ("VARCHAR", "INTEGER", "DECIMAL(10,2)", "TIMESTAMP")
"""The types of the short run: each view of the rows, and what a null once made of a whole number."""
by_type = pytest.mark.parametrize(
    "declared", [name if name in SAMPLE else pytest.param(name, marks=pytest.mark.long) for name in TYPES]
)
FILE = Path("expectations/toy.yaml")


def suite_of(expectations: Iterable[tuple[str, dict[str, Any]]], **more: str) -> str:
    """A suite's text; JSON is YAML."""
    items = [{"expect": name, **arguments, **more} for name, arguments in expectations]
    return json.dumps({"dataset": "toy", "expectations": items})


def columns_of_table(table: pa.Table) -> dict[str, pa.DataType]:
    return {column.name: column.type for column in table.schema}


def judge(text: str, table: pa.Table) -> list[CheckFinding]:
    suite = checked_suite(text, FILE, "toy", columns_of_table(table))
    return SuiteValidator(suite).validate(table, ["key"])


class Cells(HTMLParser):
    """The cells of a page that hold nothing."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.empty = 0
        self._text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, _attributes: object) -> None:
        if tag == "td":
            self._text.append("")

    def handle_data(self, data: str) -> None:
        self._text = [text + data for text in self._text]

    def handle_endtag(self, tag: str) -> None:
        if tag == "td":
            self.empty += not self._text.pop().strip()


def require_shown(findings: list[CheckFinding], folder: Path) -> None:
    """Each check says what was observed and expected, and the page of the day has no hole."""
    for found in findings:
        assert UNEVALUATED not in found.check.evidence, found.check
        assert found.check.observed not in (None, ""), found.check
        assert found.expected, found.check
        assert "np." not in f"{found.check.observed} {found.check.evidence} {found.expected} {found.examples}"
        assert "datetime." not in f"{found.check.observed} {found.check.evidence} {found.expected} {found.examples}"
    report = GateReport(gate="day", model="toy", subject="x", checks=tuple(found.check for found in findings))
    page = write_day(folder, date(2025, 1, 1), report, findings).read_text()
    assert Cells(page).empty == 0


class Heard(logging.Handler):
    """What reaches the root of the log: pytest listens even to loggers that tell nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.names.append(record.name)


@pytest.fixture
def root_log():
    handler = Heard()
    logging.getLogger().addHandler(handler)
    yield handler.names
    logging.getLogger().removeHandler(handler)


@by_type
def test_a_kind_that_fits_is_judged_on_rows_that_meet_it_and_on_rows_that_do_not(declared, tmp_path, root_log, capfd):
    table = table_of(declared)
    fitting = list(cases(declared))
    for rows in (table, variants(table)["nulls"]):
        passing = judge(suite_of((name, good) for name, good, _ in fitting if good is not None), rows)
        assert [found.check for found in passing if found.check.verdict is not Verdict.PASS] == []
        failing = judge(suite_of((name, bad) for name, _, bad in fitting if bad is not None), rows)
        assert [found.check for found in failing if found.check.verdict is not Verdict.FAIL] == []
        require_shown([*passing, *failing], tmp_path)
        assert all(found.examples for found in failing if " rows, such as " in found.check.evidence)
    assert [name for name in root_log if name.startswith(("great_expectations", "py.warnings"))] == []
    assert "".join(capfd.readouterr()) == ""


@by_type
def test_a_kind_that_fits_says_something_of_one_row_of_an_empty_column_and_of_no_rows(declared, tmp_path):
    table = table_of(declared)
    both = [(name, one) for name, *arguments in cases(declared) for one in arguments if one is not None]
    # A column without a value holds no JSON, and an index is no matter of rows.
    for rows in [variants(table)["one row"], variants(table)["an empty column"]]:
        require_shown(judge(suite_of(both), rows), tmp_path)
    conditional = [(name, one) for name, one in both if KINDS[name].conditional]
    require_shown(judge(suite_of(conditional, row_condition='key == "nobody"'), table), tmp_path)


@by_type
def test_a_kind_that_does_not_fit_a_column_is_refused_when_the_suite_is_read(declared):
    table, fitting = table_of(declared), {name for name, *_ in cases(declared)}
    others = {name: kind for name, kind in KINDS.items() if kind.subject != "table" and name not in fitting}
    assert all(family_of(arrow_type(declared, "")) not in kind.fits for kind in others.values())
    columns = {
        "column": {"column": "c"},
        "pair": {"column_A": "c", "column_B": "same"},
        "list": {"column_list": ["c", "same"]},
    }
    for name, kind in others.items():
        problems = suite_problems(suite_of([(name, columns[kind.subject])]), FILE, "toy", columns_of_table(table))
        assert any(f"c is {declared}; {kind.needs}" in problem for problem in problems), name


def test_kinds_about_the_table(tmp_path):
    table = table_of("INTEGER")
    assert TABLE_CASES.keys() == {name for name, kind in KINDS.items() if kind.subject == "table"}
    passing = judge(suite_of((name, good) for name, (good, _) in TABLE_CASES.items()), table)
    failing = judge(suite_of((name, bad) for name, (_, bad) in TABLE_CASES.items()), table)
    assert {found.check.verdict for found in passing} == {Verdict.PASS}
    assert {found.check.verdict for found in failing} == {Verdict.FAIL}
    require_shown([*passing, *failing], tmp_path)


def test_every_kind_has_cases():
    assert {name for declared in TYPES for name, *_ in cases(declared)} | TABLE_CASES.keys() == KINDS.keys()


def test_what_the_library_offers_is_either_judged_or_refused_by_name():
    offered = set(kinds_of_the_library()) - {""}  # the class that all others are made of
    assert offered - REFUSED.keys() == set(KINDS), "another version of the library: try its kinds, then list them"
    assert not REFUSED.keys() & KINDS.keys()
    assert {instead for _, instead in REFUSED.values() if instead.startswith("expect_")} <= KINDS.keys()


def test_every_parameter_is_one_of_the_library():
    for name, kind in KINDS.items():
        assert set(kind.parameters) <= set(kinds_of_the_library()[name].__fields__), name


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_kind_that_cannot_be_judged_is_refused_with_one_that_can(name):
    problems = suite_problems(suite_of([(name, {"column": "c"})]), FILE, "toy", columns_of_table(table_of("VARCHAR")))
    assert len(problems) == 1
    assert f"{name} cannot be judged here" in problems[0]
    assert REFUSED[name][1] in problems[0]
