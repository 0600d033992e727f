"""Every kind of expectation that a suite may have, on every type of a spec: judged, shown, and silent.

Where a kind does not fit a column, it is refused when the suite is read. What the library offers beyond our list is
listed too, so that a new version of it is noticed.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judged_kinds import TABLE_CASES, TYPES, cases, table_of, text_of, values_of, variants

from tallywright.data.types import arrow_type
from tallywright.gates.data_docs import write_day
from tallywright.gates.expectations.kinds import KINDS, REFUSED
from tallywright.gates.expectations.results import UNEVALUATED, CheckFinding
from tallywright.gates.expectations.values import family_of
from tallywright.gates.library import kinds as kinds_of_the_library
from tallywright.gates.suite import checked_suite, suite_problems
from tallywright.gates.validate import SuiteValidator
from tallywright.records import GateReport, Verdict

SAMPLE = ("VARCHAR", "INTEGER")
"""The types of the short run."""


def by_type(sample: tuple[str, ...]) -> pytest.MarkDecorator:
    """All types in the long run, a sample of them in the short one."""
    types = [name if name in sample else pytest.param(name, marks=pytest.mark.long) for name in TYPES]
    return pytest.mark.parametrize("declared", types)


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


@by_type(SAMPLE)
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


@by_type(SAMPLE[1:])
def test_a_kind_that_fits_says_something_of_one_row_of_an_empty_column_and_of_no_rows(declared, tmp_path):
    table = table_of(declared)
    both = [(name, one) for name, *arguments in cases(declared) for one in arguments if one is not None]
    # A column without a value holds no JSON, and an index is no matter of rows.
    for rows in [variants(table)["one row"], variants(table)["an empty column"]]:
        require_shown(judge(suite_of(both), rows), tmp_path)
    conditional = [(name, one) for name, one in both if KINDS[name].conditional]
    require_shown(judge(suite_of(conditional, row_condition='key == "nobody"'), table), tmp_path)


@by_type(TYPES)
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


def test_what_the_library_is_shown_has_the_types_of_the_spec(tmp_path):
    moments = [datetime(2025, 1, day, 12, tzinfo=UTC) for day in (1, 2, 3, 4)]
    table = pa.table(
        {
            "parcels": pa.array([1, None, 3, None], pa.int32()),
            "price": pa.array([Decimal("0.10"), Decimal("0.30"), None, Decimal("9.99")], pa.decimal128(6, 2)),
            "score_date": pa.array([date(2025, 1, 1)] * 4),
            "score_moment": pa.array(moments, pa.timestamp("us", "UTC")),
            "number": pa.array([-(2**63), 2**62 + 1, None, 2**63 - 1], pa.int64()),
            "key": pa.array(["a", "b", "c", "d"]),
        }
    )
    year = {"min_value": "2025-01-01", "max_value": "2026-01-01"}
    expectations = [
        ("expect_column_values_to_be_in_type_list", {"column": "parcels", "type_list": ["int32", "Int32", "INTEGER"]}),
        ("expect_column_values_to_match_regex", {"column": "parcels", "regex": r"^\d$"}),
        ("expect_column_values_to_be_in_set", {"column": "parcels", "value_set": [1, 3]}),
        ("expect_column_values_to_be_between", {"column": "score_moment"} | year),
        ("expect_column_values_to_be_between", {"column": "score_date"} | year),
        ("expect_column_max_to_be_between", {"column": "score_date"} | year),
        ("expect_column_values_to_be_between", {"column": "price", "min_value": 0.1, "max_value": 9.99}),
        ("expect_column_distinct_values_to_equal_set", {"column": "price", "value_set": [0.1, 0.3, 9.99]}),
    ]
    for name in (
        "value_z_scores_to_be_less_than",
        "values_to_not_be_outliers",
        "mean_to_be_between",
        "sum_to_be_between",
    ):
        more = (
            {"threshold": 9, "double_sided": True} if "scores" in name else {"multiplier": 9} if "outl" in name else {}
        )
        bounds = {"min_value": -(2**63), "max_value": 2**63} if "between" in name else {}
        expectations.append((f"expect_column_{name}", {"column": "number"} | more | bounds))
    expectations.append(("expect_table_row_count_to_equal", {"value": 2, "row_condition": "number > 1.5"}))
    findings = judge(suite_of(expectations), table)
    assert [found.check for found in findings if found.check.verdict is not Verdict.PASS] == []
    require_shown(findings, tmp_path)
    assert findings[0].check.observed == "INTEGER"
    assert findings[5].check.observed == "2025-01-01"
    bound = [("expect_column_values_to_be_between", {"column": "parcels", "max_value": 2})]
    (above,) = judge(suite_of(bound), table)
    assert "1 of 4 rows, such as 3 (key c)" in above.check.evidence


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


def test_the_page_of_the_documents_names_every_kind_and_parameter(repository):
    text = (repository / "docs/expectations.md").read_text()
    named = {name.removeprefix("expect_") for name in KINDS} | {
        key for kind in KINDS.values() for key in kind.parameters
    }
    assert {name for name in named if f"`{name}`" not in text and f"`{name}:" not in text} == set()


def test_every_parameter_is_one_of_the_library():
    for name, kind in KINDS.items():
        assert set(kind.parameters) <= set(kinds_of_the_library()[name].__fields__), name


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_kind_that_cannot_be_judged_is_refused_with_one_that_can(name):
    problems = suite_problems(suite_of([(name, {"column": "c"})]), FILE, "toy", columns_of_table(table_of("VARCHAR")))
    assert len(problems) == 1
    assert f"{name} cannot be judged here" in problems[0]
    assert REFUSED[name][1] in problems[0]


TABLES = {declared: table_of(declared) for declared in TYPES}
MIXED = pa.table({f"{name}{number}": TABLES[declared][name].slice(0, 2) for number, declared in enumerate(TYPES)
                  for name in ("c", "less", "void")} | {"key": pa.array(["k1", "k2"])})  # fmt: skip
"""Two rows with three columns of each type: values, lower values, and nulls."""
ANY_VALUE = st.one_of(
    st.sampled_from([value for declared in TYPES for value in map(text_of, values_of(declared))]),
    st.integers(-200, 70_000),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=3),
)
BY_FORM: dict[str, st.SearchStrategy[Any]] = {
    "bound": ANY_VALUE,
    "column": st.sampled_from(MIXED.column_names),
    "columns": st.lists(st.sampled_from(MIXED.column_names), min_size=2, max_size=3, unique=True),
    "condition": st.sampled_from(['key == "k1"', 'key != "k1"', 'key == "nobody"', "c4 is null or c0 is null"]),
    "count": st.integers(0, 5),
    "flag": st.booleans(),
    "interpolation": st.sampled_from([False, "lower", "linear"]),
    "names": st.lists(st.sampled_from([*MIXED.column_names, "zz"]), max_size=4),
    "number": st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False),
    "pairs": st.lists(st.tuples(ANY_VALUE, ANY_VALUE), min_size=1, max_size=2),
    "parser": st.just("pandas"),
    "partition": st.sampled_from(
        [
            {"bins": [0, 2, 3], "weights": [0.5, 0.5]},
            {"bins": [0, 1], "weights": [0.8], "tail_weights": [0.1, 0.1]},
            {"values": ["1", "3"], "weights": [0.5, 0.5]},
            {"values": [1], "weights": [1]},
            {"values": [True], "weights": [1]},
        ]
    ),
    "positive": st.integers(0, 5) | st.floats(0, 1e300),
    "quantiles": st.sampled_from([{"quantiles": [0.25, 0.5], "value_ranges": [[None, 2], [1, None]]}]),
    "regex": st.sampled_from([".", "^1", "(a|b)+", "\\d$"]),
    "regexes": st.sampled_from([["."], ["^1", "x"]]),
    "schema": st.sampled_from([{"type": "integer"}, {"enum": [1, "2"]}]),
    "share": st.floats(0, 1),
    "strftime": st.sampled_from(["%d", "%Y-%m-%d", "%H:%M"]),
    "type": st.sampled_from(["VARCHAR", "int64", "DECIMAL(10,2)"]),
    "types": st.lists(st.sampled_from(["VARCHAR", "int64", "date"]), min_size=1),
    "values": st.lists(ANY_VALUE, min_size=1, max_size=4),
}  # fmt: skip


@st.composite
def expectation(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A kind with what it must have, and some of what it may have, each of the form that it takes."""
    name = draw(st.sampled_from(sorted(KINDS)))
    types = [declared for declared in TYPES if family_of(arrow_type(declared, "")) in KINDS[name].fits]
    declared = draw(st.sampled_from(types))
    own = st.sampled_from([text_of(value) for value in values_of(declared)])
    of_type = {
        "bound": own,
        "column": st.sampled_from([f"{column}{TYPES.index(declared)}" for column in ("c", "less", "void")]),
        "pairs": st.lists(st.tuples(own, own), min_size=1, max_size=2),
        "values": st.lists(own, min_size=1, max_size=4),
    }
    forms = BY_FORM | (of_type if draw(st.integers(0, 9)) else {})
    arguments = {}
    for key, form in KINDS[name].parameters.items():
        plain = form.rstrip("!")
        if form.endswith("!") or draw(st.booleans()):
            allowed = plain.removeprefix("one of ").split(", ")
            arguments[key] = draw(st.sampled_from(allowed) if plain.startswith("one of ") else forms[plain])
    return name, arguments


@pytest.mark.long
@settings(max_examples=60)
@given(st.lists(expectation(), min_size=15, max_size=25))
def test_what_the_check_lets_through_the_library_can_judge(drawn):
    columns = columns_of_table(MIXED)
    sound = [one for one in drawn if not suite_problems(suite_of([one]), FILE, "toy", columns)]
    if not sound:
        return
    with tempfile.TemporaryDirectory() as folder:
        require_shown(judge(suite_of(sound), MIXED), Path(folder))
