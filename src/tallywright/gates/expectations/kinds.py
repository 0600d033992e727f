"""The kinds of expectations that can be judged on the rows of a day, each with its parameters and the columns it fits.

Each was tried with every type that a spec may declare: with values that meet it and that do not, with nulls, on one row
and on none. A kind of the library that is not here is refused where the suite is read (`REFUSED` says why, and what to
write); `tests/gates/test_kinds.py` compares both lists with the library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from tallywright.gates.expectations.values import ALL, NUMBERS, ORDERED, TEXT, TIMES, Family

if TYPE_CHECKING:
    from collections.abc import Mapping

Subject = Literal["table", "column", "pair", "list"]
Shape = Literal["rows", "value", "distinct", "common", "quantiles", "divergence", "columns", "exists", "type"]


@dataclass(frozen=True, slots=True)
class ExpectationKind:
    """One kind of expectation.

    Attributes:
        subject: What it is about; it names the parameters that hold columns.
        shape: What is observed: rows that are unexpected, a value of the column, its distinct values, …
        forms: Its own parameters, each with the form of its value; `!` after a form: it must be given.
        fits: The families of columns that it can be judged on.
        needs: What it needs of a column, in words, for the others.
        one_of: At least one of these parameters is needed.
        conditional: It may be about some rows only (`row_condition`).
    """

    subject: Subject
    shape: Shape
    forms: Mapping[str, str]
    fits: frozenset[Family] = ALL
    needs: str = ""
    one_of: tuple[str, ...] = ()
    conditional: bool = True

    @property
    def parameters(self) -> dict[str, str]:
        """All parameters with their forms, the columns and the condition among them."""
        own = _COLUMNS[self.subject] | dict(self.forms)
        return own | (_CONDITION if self.conditional else {})


_COLUMNS: Final[dict[Subject, dict[str, str]]] = {
    "table": {},
    "column": {"column": "column!"},
    "pair": {"column_A": "column!", "column_B": "column!"},
    "list": {"column_list": "columns!"},
}
SUBJECTS: Final = frozenset(name for names in _COLUMNS.values() for name in names)
"""The parameters that name columns."""
_CONDITION: Final = {"row_condition": "condition", "condition_parser": "parser"}
_MOSTLY: Final = {"mostly": "share"}
_LIMITS: Final = ("min_value", "max_value")
_STRICT: Final = {"strict_min": "flag", "strict_max": "flag"}


def _bounds(form: str) -> dict[str, str]:
    return dict.fromkeys(_LIMITS, form)


def _rows(
    forms: Mapping[str, str], fits: frozenset[Family] = ALL, needs: str = "", one_of: tuple[str, ...] = ()
) -> ExpectationKind:
    return ExpectationKind("column", "rows", {**forms, **_MOSTLY}, fits, needs, one_of)


def _value(form: str, fits: frozenset[Family], needs: str = "") -> ExpectationKind:
    return ExpectationKind("column", "value", _bounds(form) | _STRICT, fits, needs, one_of=_LIMITS)


def _set(shape: Shape, **forms: str) -> ExpectationKind:
    return ExpectationKind("column", shape, {"value_set": "values!"} | forms)


def _several(
    subject: Subject, missing: str, fits: frozenset[Family] = ALL, needs: str = "", **forms: str
) -> ExpectationKind:
    return ExpectationKind(subject, "rows", forms | _MOSTLY | {"ignore_row_if": missing}, fits, needs)


_ORDER: Final = "an order needs numbers, dates or instants"
_KL: Final = "expect_column_kl_divergence_to_be_less_than"
_PAIR_MISSING: Final = "one of both_values_are_missing, either_value_is_missing, neither"
_LIST_MISSING: Final = "one of all_values_are_missing, any_value_is_missing, never"

KINDS: Final[Mapping[str, ExpectationKind]] = {
    # The table
    "expect_table_row_count_to_be_between": ExpectationKind(
        "table", "value", _bounds("count") | _STRICT, one_of=_LIMITS
    ),
    "expect_table_row_count_to_equal": ExpectationKind("table", "value", {"value": "count!"}),
    "expect_table_column_count_to_be_between": ExpectationKind(
        "table", "value", _bounds("count"), one_of=_LIMITS, conditional=False
    ),
    "expect_table_column_count_to_equal": ExpectationKind("table", "value", {"value": "count!"}, conditional=False),
    "expect_table_columns_to_match_set": ExpectationKind(
        "table", "columns", {"column_set": "names!", "exact_match": "flag"}, conditional=False
    ),
    "expect_table_columns_to_match_ordered_list": ExpectationKind(
        "table", "columns", {"column_list": "names!"}, conditional=False
    ),
    "expect_column_to_exist": ExpectationKind("column", "exists", {"column_index": "count"}, conditional=False),
    # The type of a column
    "expect_column_type_to_be": ExpectationKind("column", "type", {"type_": "type!"}, conditional=False),
    "expect_column_values_to_be_of_type": ExpectationKind("column", "type", {"type_": "type!"} | _MOSTLY),
    "expect_column_values_to_be_in_type_list": ExpectationKind("column", "type", {"type_list": "types!"} | _MOSTLY),
    # Each row
    "expect_column_values_to_not_be_null": _rows({}),
    "expect_column_values_to_be_null": _rows({}),
    "expect_column_values_to_be_unique": _rows({}),
    "expect_column_values_to_be_between": _rows(
        _bounds("bound") | _STRICT, ORDERED | {"boolean"}, "bounds need numbers, dates or instants", one_of=_LIMITS
    ),
    "expect_column_values_to_be_in_set": _rows({"value_set": "values!"}),
    "expect_column_values_to_not_be_in_set": _rows({"value_set": "values!"}),
    "expect_column_values_to_be_increasing": _rows({"strictly": "flag"}, ORDERED, _ORDER),
    "expect_column_values_to_be_decreasing": _rows({"strictly": "flag"}, ORDERED, _ORDER),
    "expect_column_values_to_match_regex": _rows({"regex": "regex!"}),
    "expect_column_values_to_not_match_regex": _rows({"regex": "regex!"}),
    "expect_column_values_to_match_regex_list": _rows({"regex_list": "regexes!", "match_on": "one of any, all"}),
    "expect_column_values_to_not_match_regex_list": _rows({"regex_list": "regexes!"}),
    "expect_column_value_lengths_to_be_between": _rows(_bounds("count") | _STRICT, one_of=_LIMITS),
    "expect_column_value_lengths_to_equal": _rows({"value": "count!"}),
    "expect_column_values_to_match_strftime_format": _rows(
        {"strftime_format": "strftime!"}, TEXT, "a format is one of texts"
    ),
    "expect_column_values_to_be_dateutil_parseable": _rows({}, TEXT, "only texts are parsed"),
    "expect_column_values_to_be_json_parseable": _rows({}, TEXT, "only texts are parsed"),
    "expect_column_values_to_match_json_schema": _rows({"json_schema": "schema!"}, TEXT, "only texts hold JSON"),
    "expect_column_value_z_scores_to_be_less_than": _rows(
        {"threshold": "positive!", "double_sided": "flag!"}, NUMBERS, "a z-score needs numbers"
    ),
    "expect_column_values_to_not_be_outliers": _rows(
        {"method": "one of iqr, std", "multiplier": "positive"}, NUMBERS, "outliers need numbers"
    ),
    # Each row, several columns
    "expect_column_pair_values_to_be_equal": _several("pair", _PAIR_MISSING),
    "expect_column_pair_values_a_to_be_greater_than_b": _several(
        "pair", _PAIR_MISSING, ORDERED, _ORDER, or_equal="flag"
    ),
    "expect_column_pair_values_to_be_in_set": _several("pair", _PAIR_MISSING, value_pairs_set="pairs!"),
    "expect_compound_columns_to_be_unique": _several("list", _LIST_MISSING),
    "expect_select_column_values_to_be_unique_within_record": _several("list", _LIST_MISSING),
    "expect_multicolumn_values_to_be_equal": _several("list", _LIST_MISSING),
    "expect_multicolumn_sum_to_equal": _several(
        "list", _LIST_MISSING, NUMBERS, "a sum needs numbers", sum_total="number!"
    ),
    # A figure of a column
    "expect_column_min_to_be_between": _value("bound", ORDERED | {"boolean"}, _ORDER),
    "expect_column_max_to_be_between": _value("bound", ORDERED | {"boolean"}, _ORDER),
    "expect_column_mean_to_be_between": _value("number", NUMBERS | {"boolean"}, "a mean needs numbers"),
    "expect_column_median_to_be_between": _value("number", NUMBERS | {"boolean"}, "a median needs numbers"),
    "expect_column_sum_to_be_between": _value("number", NUMBERS | {"boolean"}, "a sum needs numbers"),
    "expect_column_stdev_to_be_between": _value("positive", NUMBERS | {"boolean"}, "a deviation needs numbers"),
    "expect_column_unique_value_count_to_be_between": _value("count", ALL),
    "expect_column_proportion_of_unique_values_to_be_between": _value("share", ALL),
    "expect_column_proportion_of_non_null_values_to_be_between": _value("share", ALL),
    "expect_column_quantile_values_to_be_between": ExpectationKind(
        "column", "quantiles", {"quantile_ranges": "quantiles!", "allow_relative_error": "interpolation"},
        NUMBERS, "quantiles need numbers",
    ),
    "expect_column_kl_divergence_to_be_less_than": ExpectationKind(
        "column", "divergence",
        {"partition_object": "partition!", "threshold": "positive!", "internal_weight_holdout": "share",
         "tail_weight_holdout": "share", "bucketize_data": "flag"},
        ALL - TIMES, "a divergence needs numbers, texts or truth values",
    ),
    # The distinct values of a column
    "expect_column_distinct_values_to_be_in_set": _set("distinct"),
    "expect_column_distinct_values_to_contain_set": _set("distinct"),
    "expect_column_distinct_values_to_equal_set": _set("distinct"),
    "expect_column_most_common_value_to_be_in_set": _set("common", ties_okay="flag"),
}  # fmt: skip

_LIKE: Final = "LIKE patterns are for databases"
_TESTS: Final = "it is not offered for the rows of a day"
_ELSEWHERE: Final = "it compares with another table"
REFUSED: Final[Mapping[str, tuple[str, str]]] = {
    "expect_column_values_to_match_like_pattern": (_LIKE, "expect_column_values_to_match_regex"),
    "expect_column_values_to_not_match_like_pattern": (_LIKE, "expect_column_values_to_not_match_regex"),
    "expect_column_values_to_match_like_pattern_list": (_LIKE, "expect_column_values_to_match_regex_list"),
    "expect_column_values_to_not_match_like_pattern_list": (_LIKE, "expect_column_values_to_not_match_regex_list"),
    "expect_multicolumn_values_to_be_unique": (
        "its own library gives it up", "expect_select_column_values_to_be_unique_within_record"),
    "expect_table_row_count_to_equal_other_table": (_ELSEWHERE, "expect_table_row_count_to_be_between"),
    "expect_query_results_to_match_comparison": (_ELSEWHERE, ""),
    "unexpected_rows_expectation": ("it runs SQL", "row_condition with another expectation"),
    "expect_column_bootstrapped_ks_test_p_value_to_be_greater_than": (_TESTS, _KL),
    "expect_column_chisquare_test_p_value_to_be_greater_than": (_TESTS, _KL),
    "expect_column_pair_cramers_phi_value_to_be_less_than": (_TESTS, ""),
    "expect_column_parameterized_distribution_ks_test_p_value_to_be_greater_than": (
        _TESTS, "expect_column_quantile_values_to_be_between"),
}  # fmt: skip
"""Kinds of the library that cannot be judged here: why, and what to use."""
