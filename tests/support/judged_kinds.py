"""Every kind of expectation with arguments that a small table meets and that it does not, for every type of a spec."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from tallywright.data.types import arrow_type
from tallywright.gates.expectations.kinds import KINDS
from tallywright.gates.expectations.values import family_of

TYPES = (
    "VARCHAR", "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "DECIMAL(10,2)", "DATE",
    "TIMESTAMP",
)  # fmt: skip
Arguments = dict[str, Any]
ABOUT = {"column": "c"}
OTHER = {"DATE": "BOOLEAN"}
"""A type that a column is not; BOOLEAN is the DATE's, DATE is that of all others."""


def values_of(declared: str) -> list[Any]:
    """Four values of a type in ascending order; two of BOOLEAN."""
    kind = family_of(arrow_type(declared, ""))
    return {
        "text": ["1", "2", "3", "4"],
        "boolean": [False, True],
        "integer": [1, 2, 3, 4],
        "float": [1.0, 2.0, 3.0, 4.0],
        "decimal": [decimal.Decimal(f"{number}.10") for number in (1, 2, 3, 4)],
        "date": [dt.date(2025, 1, day) for day in (1, 2, 3, 4)],
        "instant": [dt.datetime(2025, 1, day, 12, 30, tzinfo=dt.UTC) for day in (1, 2, 3, 4)],
    }[kind]


def table_of(declared: str) -> pa.Table:
    """Three rows (BOOLEAN: two): `c` rises, `same` equals it, `less` is below it, `dup` and `dup2` repeat a value."""
    found, values = arrow_type(declared, ""), values_of(declared)
    upper = values[1:] if len(values) > 2 else values
    lower = values[:-1] if len(values) > 2 else values[::-1]
    size = len(upper)
    columns = {
        "c": upper,
        "same": upper,
        "less": lower,
        "dup": [upper[0]] * size,
        "dup2": [upper[0]] * size,
        "void": [None] * size,
    }
    table = pa.table({name: pa.array(cells, found) for name, cells in columns.items()})
    odd = pa.array(["{"] * size, pa.string())
    return table.append_column("odd", odd).append_column("key", pa.array([f"k{number}" for number in range(size)]))


def variants(table: pa.Table) -> dict[str, pa.Table]:
    """The rows, with a row of nulls among them, one row, and as many rows of nulls."""
    nothing = pa.table({column.name: pa.nulls(1, column.type) for column in table.schema})
    key = table.schema.get_field_index("key")
    return {
        "nulls": pa.concat_tables(
            [table.slice(0, 1), nothing.set_column(key, "key", pa.array(["null"])), table.slice(1)]
        ),
        "one row": table.slice(0, 1),
        "an empty column": pa.table(
            {
                column.name: table["key"] if column.name == "key" else pa.nulls(table.num_rows, column.type)
                for column in table.schema
            }
        ),
    }


def text_of(value: Any) -> Any:
    """A value as it is written in a suite."""
    if isinstance(value, dt.date):
        return value.isoformat()
    return str(value) if isinstance(value, decimal.Decimal) else value


def cases(declared: str) -> Iterator[tuple[str, Arguments | None, Arguments | None]]:
    """Each kind that fits a type, with arguments that the rows of `table_of` meet and that they do not.

    None where there are none, such as a set that no truth value is in.
    """
    family = family_of(arrow_type(declared, ""))
    texts = [text_of(value) for value in values_of(declared)]
    upper = texts[1:] if len(texts) > 2 else texts
    is_boolean = family == "boolean"
    absent = None if is_boolean else [texts[0]]
    first, last = (0, 1) if is_boolean else (upper[0], upper[-1])
    total = {"integer": 4, "float": 4.0, "decimal": 4.2}.get(family, 0)
    bins = {"bins": [0, 3, 10], "weights": [0.4, 0.6]}, {"bins": [0, 9, 10], "weights": [0.1, 0.9]}
    discrete = {"values": upper, "weights": [1 / len(upper)] * len(upper)}, {"values": upper[:2], "weights": [0.9, 0.1]}
    is_number = family in ("integer", "float", "decimal")
    ignoring = {"ignore_row_if": "either_value_is_missing"}
    found: dict[str, tuple[Arguments | None, Arguments | None]] = {
        "column_to_exist": ({}, {"column_index": 77}),
        "column_type_to_be": ({"type_": declared}, {"type_": OTHER.get(declared, "DATE")}),
        "column_values_to_be_of_type": ({"type_": declared.lower()}, {"type_": OTHER.get(declared, "DATE")}),
        "column_values_to_be_in_type_list": (
            {"type_list": ["INT", declared]},
            {"type_list": [OTHER.get(declared, "DATE")]},
        ),
        "column_values_to_not_be_null": ({"mostly": 0.5}, {"column": "void"}),
        "column_values_to_be_null": ({"column": "void"}, {}),
        "column_values_to_be_unique": ({}, {"column": "dup"}),
        "column_values_to_be_between": ({"min_value": first, "max_value": last}, {"min_value": last}),
        "column_values_to_be_in_set": ({"value_set": upper}, {"value_set": upper[:1]}),
        "column_values_to_not_be_in_set": (absent and {"value_set": absent}, {"value_set": upper}),
        "column_values_to_be_increasing": ({"strictly": True}, {"column": "dup", "strictly": True}),
        "column_values_to_be_decreasing": ({"column": "dup"}, {}),
        "column_values_to_match_regex": ({"regex": "."}, {"regex": "^nothing$"}),
        "column_values_to_not_match_regex": ({"regex": "^nothing$"}, {"regex": "."}),
        "column_values_to_match_regex_list": (
            {"regex_list": [".", "^nothing$"]},
            {"regex_list": [".", "^nothing$"], "match_on": "all"},
        ),
        "column_values_to_not_match_regex_list": ({"regex_list": ["^nothing$"]}, {"regex_list": ["."]}),
        "column_value_lengths_to_be_between": ({"min_value": 1, "max_value": 40}, {"min_value": 50}),
        "column_value_lengths_to_equal": ({"value": 1, "mostly": 0}, {"value": 50}),
        "column_values_to_match_strftime_format": ({"strftime_format": "%d"}, {"strftime_format": "%Y"}),
        "column_values_to_be_dateutil_parseable": ({}, {"column": "odd"}),
        "column_values_to_be_json_parseable": ({}, {"column": "odd"}),
        "column_values_to_match_json_schema": (
            {"json_schema": {"type": "integer"}},
            {"json_schema": {"type": "string"}},
        ),
        "column_value_z_scores_to_be_less_than": (
            {"threshold": 100, "double_sided": True},
            {"threshold": 0, "double_sided": False},
        ),
        "column_values_to_not_be_outliers": ({"method": "std", "multiplier": 100}, {"method": "iqr", "multiplier": 0}),
        "column_pair_values_to_be_equal": (
            {"column_A": "c", "column_B": "same"},
            {"column_A": "c", "column_B": "less"},
        ),
        "column_pair_values_a_to_be_greater_than_b": (
            {"column_A": "c", "column_B": "less"} | ignoring,
            {"column_A": "less", "column_B": "c"},
        ),
        "column_pair_values_to_be_in_set": (
            {"column_A": "c", "column_B": "same", "value_pairs_set": [[one, one] for one in upper]} | ignoring,
            {"column_A": "c", "column_B": "same", "value_pairs_set": [[upper[0], upper[0]]]},
        ),
        "compound_columns_to_be_unique": ({"column_list": ["c", "less"]}, {"column_list": ["dup", "dup2"]}),
        "select_column_values_to_be_unique_within_record": (
            {"column_list": ["c", "less"], "ignore_row_if": "any_value_is_missing"},
            {"column_list": ["c", "same"]},
        ),
        "multicolumn_values_to_be_equal": (
            {"column_list": ["c", "same"], "ignore_row_if": "any_value_is_missing"},
            {"column_list": ["c", "less"]},
        ),
        "multicolumn_sum_to_equal": (
            {"column_list": ["dup", "dup2"], "sum_total": total, "ignore_row_if": "any_value_is_missing"},
            {"column_list": ["dup", "dup2"], "sum_total": 99},
        ),
        "column_min_to_be_between": ({"min_value": first, "max_value": first}, {"min_value": last}),
        "column_max_to_be_between": ({"min_value": last, "max_value": last}, {"max_value": first}),
        "column_mean_to_be_between": ({"min_value": 0, "max_value": 10}, {"min_value": 50}),
        "column_median_to_be_between": ({"min_value": 0, "max_value": 10}, {"min_value": 50}),
        "column_sum_to_be_between": ({"min_value": 0, "max_value": 100}, {"min_value": 500}),
        "column_stdev_to_be_between": ({"min_value": 0, "max_value": 10}, {"min_value": 1000}),
        "column_unique_value_count_to_be_between": ({"min_value": 1}, {"min_value": 50}),
        "column_proportion_of_unique_values_to_be_between": ({"min_value": 0.1}, {"column": "dup", "min_value": 0.9}),
        "column_proportion_of_non_null_values_to_be_between": (
            {"min_value": 0.1},
            {"max_value": 0, "strict_max": False},
        ),
        "column_quantile_values_to_be_between": (
            {"quantile_ranges": {"quantiles": [0.1, 0.5], "value_ranges": [[None, 10], [0, 10]]}},
            {"quantile_ranges": {"quantiles": [0.5], "value_ranges": [[50, 60]]}},
        ),
        "column_kl_divergence_to_be_less_than": (
            {"partition_object": (bins if is_number else discrete)[0], "threshold": 5},
            {"partition_object": (bins if is_number else discrete)[1], "threshold": 0},
        ),
        "column_distinct_values_to_be_in_set": ({"value_set": upper}, {"value_set": upper[:1]}),
        "column_distinct_values_to_contain_set": ({"value_set": upper[:1]}, absent and {"value_set": absent}),
        "column_distinct_values_to_equal_set": ({"value_set": upper}, {"value_set": upper[:1]}),
        "column_most_common_value_to_be_in_set": ({"value_set": upper, "ties_okay": True}, {"value_set": upper[:1]}),
    }
    for name, (passing, failing) in found.items():
        expect = f"expect_{name}"
        if family in KINDS[expect].fits:
            about = ABOUT if KINDS[expect].subject == "column" else {}
            yield expect, None if passing is None else about | passing, None if failing is None else about | failing


TABLE_CASES: dict[str, tuple[Arguments, Arguments]] = {
    "expect_table_row_count_to_be_between": ({"min_value": 1, "max_value": 9}, {"min_value": 9, "strict_min": True}),
    "expect_table_row_count_to_equal": ({"value": 3}, {"value": 4}),
    "expect_table_column_count_to_be_between": ({"min_value": 8}, {"max_value": 7}),
    "expect_table_column_count_to_equal": ({"value": 8}, {"value": 9}),
    "expect_table_columns_to_match_set": (
        {"column_set": ["c", "key"], "exact_match": False},
        {"column_set": ["c", "zz"]},
    ),
    "expect_table_columns_to_match_ordered_list": (
        {"column_list": ["c", "same", "less", "dup", "dup2", "void", "odd", "key"]},
        {"column_list": ["c", "less", "same"]},
    ),
}
"""The kinds that are about no column, on the three rows of `table_of`."""
