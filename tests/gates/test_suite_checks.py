"""What is wrong with a suite is said when it is read: all at once, with file, line and nearest match."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.data.types import arrow_type
from tallywright.errors import SpecError
from tallywright.gates.expectations.kinds import KINDS
from tallywright.gates.suite import checked_suite, parse_suite, suite_problems

FILE = Path("expectations/toy.yaml")
COLUMNS = {
    name: arrow_type(declared, "")
    for name, declared in {
        "region": "VARCHAR", "weight": "DOUBLE", "parcels": "TINYINT", "price": "DECIMAL(6,2)", "vip": "BOOLEAN",
        "score_date": "DATE", "score_moment": "TIMESTAMP",
    }.items()
}  # fmt: skip


def problems_of(*lines: str) -> list[str]:
    text = "dataset: toy\nexpectations:\n" + "".join(f"  - {line}\n" for line in lines)
    return suite_problems(text, FILE, "toy", COLUMNS)


def of(kind: str, arguments: str) -> str:
    return f"{{expect: expect_{kind}, {arguments}}}"


def between(column: str, arguments: str) -> str:
    return f"{{expect: expect_column_values_to_be_between, column: {column}, {arguments}}}"


def in_set(column: str, values: str) -> str:
    return f"{{expect: expect_column_values_to_be_in_set, column: {column}, value_set: {values}}}"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (between("weight", f"min_value: 1{'0' * 400}"), "a finite number is needed"),
        (between("weight", f"min_value: 1{'0' * 5000}"), "Exceeds the limit"),
        (between("weight", "min_value: .nan"), "a finite number is needed"),
        (between("weight", "min_value: -.inf"), "a finite number is needed"),
        (between("weight", "min_value: three"), "found three, a number is needed"),
        (between("weight", "min_value: yes"), "without quotes YAML reads yes"),
        (between("weight", "min_value: 3, max_value: 1"), "min_value 3 is above max_value 1"),
        (between("weight", "min_value: 1, max_value: 1, strict_max: true"), "no value is strictly between 1 and 1"),
        (between("weight", "min_value: 1, mostly: 1.5"), "a share from 0 to 1 is needed"),
        (between("weight", "min_value: 1, mostly: {$PARAMETER: x}"), "a number is needed"),
        (between("weight", "min_value: 1, strict_min: 1"), "true or false is needed"),
        (between("weight", "mostly: 1"), "without min_value or max_value it judges nothing"),
        (between("weight", "min_vale: 1"), "unknown argument 'min_vale' (did you mean 'min_value'?)"),
        (between("weigth", "min_value: 1"), "there is no column 'weigth' (did you mean 'weight'?)"),
        (between("no", "min_value: 1"), "found false, a text is needed; quote it"),
        (between("parcels", "min_value: 1000"), "parcels is TINYINT: -128 to 127"),
        (between("price", "max_value: 10001"), "price is DECIMAL(6,2)"),
        (between("score_date", "min_value: 20250101"), "write a date such as 2025-01-31"),
        (between("score_date", "min_value: 2025-02-30"), "write a date such as 2025-01-31"),
        (between("score_moment", "min_value: yesterday"), "it is UTC unless it has a zone"),
        (between("region", "min_value: a"), "region is VARCHAR; bounds need numbers, dates or instants"),
        (in_set("region", "[DE, NO, SE]"), "found false, and region is VARCHAR: without quotes YAML reads"),
        (in_set("region", "[1, 2]"), "found 1, and region is VARCHAR: quote it"),
        (in_set("region", "north"), "a list is needed"),
        (in_set("region", "[]"), "a set without values judges nothing"),
        (in_set("parcels", "[1.5]"), "a whole number is needed"),
        (in_set("price", "[1.001]"), "it has at most 2 decimals"),
        (in_set("vip", "[maybe]"), "true or false"),
        (of("column_sum_to_be_between", "column: region, max_value: 1"), "region is VARCHAR; a sum needs numbers"),
        (of("column_stdev_to_be_between", "column: weight, min_value: -1"), "a number from 0 is needed"),
        (of("column_values_to_match_regex", "column: region, regex: '('"), "no regular expression"),
        (of("column_value_lengths_to_be_betwen", "column: region, min_value: 1"),
         "expect_column_value_lengths_to_be_between"),
        (of("column_values_to_be_of_type", "column: region, type_: VARCHR"),
         "unknown type 'VARCHR' (did you mean 'VARCHAR'?)"),
        (of("column_values_to_match_json_schema", "column: region, json_schema: {$ref: 'http://x/y'}"),
         "a $ref may name a part of the same schema only"),
        (of("column_pair_values_to_be_equal", "column_A: region, column_B: weight"),
         "region is VARCHAR, weight is DOUBLE"),
        (of("compound_columns_to_be_unique", "column_list: [region]"), "at least two columns"),
        (of("compound_columns_to_be_unique", "column_list: [region, region]"), "at least two columns"),
        (of("table_row_count_to_be_between", "min_value: -1"), "a whole number from 0 is needed"),
        ("{expect: expect_column_to_exist}", "column is missing"),
        (of("column_kl_divergence_to_be_less_than",
            "column: weight, threshold: 1, partition_object: {bins: [0, 1], weights: [.5]}"),
         "the weights add up to 0.5"),
        (of("column_quantile_values_to_be_between",
            "column: weight, quantile_ranges: {quantiles: [0.5, 0.2], value_ranges: [[0, 1], [0, 1]]}"),
         "the quantiles must rise"),
        (of("column_values_to_not_be_null", "column: weight, result_format: COMPLETE"),
         "unknown argument 'result_format'; allowed are column, mostly, row_condition, condition_parser, severity"),
        (of("column_values_to_not_be_null", "column: weight, meta: {a: 1}"), "unknown argument 'meta'"),
        (of("column_values_to_not_be_null", "column: weight, id: x"), "unknown argument 'id'"),
        (of("column_values_to_not_be_null", "column: weight, catch_exceptions: false"),
         "unknown argument 'catch_exceptions'"),
        (of("column_values_to_not_be_null", "column: weight, row_condition: 'weight > 1', condition_parser: spark"),
         "one of great_expectations, pandas is needed"),
        (of("column_values_to_match_like_pattern", "column: region, like_pattern: 'x%'"),
         "cannot be judged here; use expect_column_values_to_match_regex, '^x'"),
    ],
)  # fmt: skip
def test_what_can_only_fail_later_is_refused_now(line, said):
    (problem,) = problems_of(line)
    assert said in problem
    assert problem.startswith(f"{FILE}")
    with pytest.raises(SpecError):
        checked_suite(f"dataset: toy\nexpectations: [{line}]", FILE, "toy", COLUMNS)


def test_everything_is_said_at_once_with_its_line():
    text = """dataset: toys
expectations:
  - expect: expect_column_values_to_be_betwen
    column: weight
  - expect: expect_column_values_to_be_between
    column: weight
    min_value: 3
    max_value: 1
  - expect: expect_column_sum_to_be_between
    severity: fatal
    column: region
    max_value: 1
  - expect: expect_column_to_exist
    column: zz
"""
    found = suite_problems(text, FILE, "toy", COLUMNS)
    assert sorted(int(problem.split(":")[1]) for problem in found) == [1, 3, 7, 10]
    assert any("expectations.2.severity" in problem for problem in found)


@pytest.mark.parametrize(
    "values",
    [
        between("weight", "min_value: 1e-3"),
        between("weight", "min_value: '0.5'"),
        between("score_moment", "min_value: 2025-01-01, max_value: 2026-01-01"),
        between("score_moment", "min_value: 2025-01-01T00:00:00+01:00"),
        between("score_date", "min_value: 2025-01-01"),
        between("vip", "min_value: 0, max_value: 1"),
        between("vip", "min_value: true"),
        in_set("region", "['NO', DE, 2025-01-01, 01, 12:30, null]"),
        in_set("price", "[1.1, 2]"),
        in_set("vip", "[yes]"),
        "{expect: expect_column_values_to_be_in_type_list, column: parcels, type_list: [int8, Int8, TINYINT]}",
        "{expect: expect_table_columns_to_match_set, column_set: [region, other], exact_match: no}",
        "{expect: expect_column_to_exist, column: zz}",
    ],
)
def test_what_works_is_let_through(values):
    assert problems_of(values) == []


def test_values_are_read_by_the_type_of_their_column():
    text = "dataset: toy\nexpectations:\n" + "".join(
        f"  - {line}\n"
        for line in (
            between("score_moment", "min_value: 2025-01-01, max_value: 2025-01-01T01:00:00+01:00"),
            in_set("region", "[2025-01-01, 01, 12:30]"),
        )
    )
    moments, texts = checked_suite(text, FILE, "toy", COLUMNS).expectations
    assert (
        moments.values["min_value"].isoformat()
        == moments.values["max_value"].isoformat()
        == "2025-01-01T00:00:00+00:00"
    )
    assert texts.values["value_set"] == ["2025-01-01", "01", "12:30"]


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 2000 + "]" * 2000, "it is nested more than 20 deep"),
        ("[" * 200_000, "it is nested more than 20 deep"),
        (LAUGHS, "more than 400,000 values"),
        ("dataset: &a [*a]", "an alias stands for itself"),
        ("dataset: toy\ndataset: toy", "duplicate key dataset"),
        ("dataset: !!python/object/apply:os.system ['touch pwned']", "is not read here"),
        ("dataset: 0x" + "f" * 6000, "dataset"),
        ("? [1]\n: 2\n", "toy.yaml"),
        ("x" * 5_000_000, "at most 4,000,000 characters"),
        ("dataset: \x07", "toy.yaml"),
        ("--- 1\n--- 2", "toy.yaml"),
    ],
)  # fmt: skip
def test_a_text_that_no_suite_is(text, said, tmp_path):
    with pytest.raises(SpecError, match=r"toy\.yaml") as refused:
        parse_suite(text, FILE, "toy")
    assert said in str(refused.value)
    assert suite_problems(text, FILE, "toy", COLUMNS)


def test_of_a_file_that_is_no_suite_nothing_is_shown():
    for text in ("root:x:0:0:root:/root:/bin/bash\nbin:x:1", "secret", "[secret]", "a: [secret", "secret: {\n"):
        assert "secret" not in "\n".join(suite_problems(text, FILE, "toy", COLUMNS)).replace("'secret'", "")
        assert "root" not in "\n".join(suite_problems(text, FILE, "toy", COLUMNS))


def test_a_byte_order_mark_is_no_part_of_a_suite():
    text = "\ufeffdataset: toy\nexpectations: [{expect: expect_table_row_count_to_equal, value: 3}]"
    assert suite_problems(text, FILE, "toy", COLUMNS) == []


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(), st.text(max_size=8),
    st.sampled_from(["2025-01-01", "NO", "1e3", "region", "weight", "$ref", "(", "{}", "region == 'a'"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = sorted({name for kind in KINDS.values() for name in kind.parameters})


ITEMS = st.builds(
    lambda item, more: item | more,
    st.fixed_dictionaries(
        {"expect": st.sampled_from(sorted(KINDS))},
        optional={"severity": SCALARS, "notes": SCALARS, "arguments": SCALARS},
    ),
    st.dictionaries(st.sampled_from(NAMES), VALUES | st.sampled_from(sorted(COLUMNS)), max_size=4),
)


@given(st.lists(ITEMS, max_size=3))
def test_no_suite_ends_in_an_exception_of_others(items):
    text = json.dumps({"dataset": "toy", "expectations": items})
    problems = suite_problems(text, FILE, "toy", COLUMNS)
    if problems:
        assert all(problem.startswith(str(FILE)) for problem in problems)
        with pytest.raises(SpecError):
            checked_suite(text, FILE, "toy", COLUMNS)
    else:
        assert len(checked_suite(text, FILE, "toy", COLUMNS).expectations) == len(items)


@given(st.text(alphabet="{}[]&*!|>'\"%@`:,-? \n\t#ab01\x00\ufeff", max_size=60))
def test_no_text_ends_in_an_exception_of_others(text):
    assert suite_problems(text, FILE, "toy", COLUMNS)


@pytest.mark.long
def test_the_library_is_not_imported_for_the_check():
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_suite_checks as checks
assert checks.problems_of(checks.between("weight", "min_value: 1")) == []
print("great_expectations" in sys.modules, "pandas" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_columns_whose_type_is_unknown_are_left_to_the_check_of_the_spec():
    text = f"dataset: toy\nexpectations: [{between('weight', 'min_value: 1')}]"
    assert suite_problems(text, FILE, "toy", dict.fromkeys(COLUMNS)) == []
    assert isinstance(COLUMNS["weight"], pa.DataType)
