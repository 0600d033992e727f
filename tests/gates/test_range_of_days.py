"""The day gates of a range: the suite is made ready once, and says of each day what the library says of it alone."""

from __future__ import annotations

import warnings
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from tallywright.errors import StorageError
from tallywright.gates.data_docs import write_index
from tallywright.gates.day import data_docs_folder, day_gate
from tallywright.gates.expectations.plan import BOOLEAN_ONLY, ExpectationPlan
from tallywright.gates.library import Frames, kinds
from tallywright.gates.suite import checked_suite
from tallywright.gates.validate import DayGates, validate
from tallywright.records import InputVersion, Verdict

from .conftest import DAY, day_rows, judge_alone

if TYPE_CHECKING:
    import pandas as pd

pytestmark = pytest.mark.slow  # the library takes seconds to import

SUITE = """
dataset: toy__features
expectations:
  - {expect: expect_table_row_count_to_be_between, min_value: 50, max_value: 5000}
  - {expect: expect_column_values_to_not_be_null, column: x, severity: info}
  - {expect: expect_column_mean_to_be_between, column: x, min_value: -1, max_value: 1}
"""

# Those of types look at the rows already when they say which metrics they need.
EXPECTATIONS = [
    {"expect": "expect_table_columns_to_match_set", "column_set": ["id", "x", "colour", "score_moment", "score_date"]},
    {"expect": "expect_column_values_to_be_of_type", "column": "x", "type_": "float64"},
    {"expect": "expect_column_values_to_be_in_type_list", "column": "colour", "type_list": ["str", "object"]},
    {"expect": "expect_column_kl_divergence_to_be_less_than", "column": "colour", "threshold": 0.1,
     "partition_object": {"values": ["blue", "red"], "weights": [0.5, 0.5]}},
    {"expect": "expect_column_values_to_be_between", "column": "x", "min_value": -3, "mostly": 0.9},
    {"expect": "expect_column_values_to_be_between", "column": "x", "max_value": 1, "mostly": 0.5,
     "row_condition": 'colour=="red"', "condition_parser": "pandas"},
    {"expect": "expect_column_quantile_values_to_be_between", "column": "x",
     "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[-0.5, 0.5]]}},
    {"expect": "expect_column_distinct_values_to_equal_set", "column": "colour", "value_set": ["blue", "red"]},
    {"expect": "expect_column_values_to_match_regex", "column": "id", "regex": "^id"},
    {"expect": "expect_compound_columns_to_be_unique", "column_list": ["id", "colour"]},
    {"expect": "expect_column_values_to_be_unique", "column": "id"},
    {"expect": "expect_column_max_to_be_between", "column": "x", "max_value": 10},
]  # fmt: skip


def frames() -> dict[str, pd.DataFrame]:
    """Days good and broken, the types of their columns among them."""
    good = day_rows(200).to_pandas()
    return {
        "good": good,
        "texts": good.assign(x=[f"{value:.3f}" for value in good["x"]]),
        "numbers": good.assign(colour=range(200)),
        "nulls": good.assign(x=np.where(np.arange(200) < 90, np.nan, good["x"])),
        "infinite": good.assign(x=np.where(np.arange(200) < 2, np.inf, good["x"])),
        "twice": good.iloc[[*range(200), 0, 1, 2]],
        "lacking": good.drop(columns=["x"]),
        "all null": good.assign(colour=None),
        "good again": good,
    }


@contextmanager
def counted(monkeypatch):
    """Counts what the library is asked for; it does all of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library imports deprecated modules
        import great_expectations as gx
        from great_expectations.validator.validation_graph import ValidationGraph

    counts: Counter[str] = Counter()

    def count(owner, name, what):
        own = getattr(owner, name)

        def counting(*args, **kwargs):
            counts[what] += 1
            return own(*args, **kwargs)

        patch.setattr(owner, name, counting)

    with monkeypatch.context() as patch:
        count(gx, "get_context", "contexts")
        count(ValidationGraph, "resolve", "validations")
        yield counts


def put(lake, number, **changes) -> InputVersion:
    day = DAY + timedelta(days=number)
    rows = day_rows(200, seed=number)
    for name, values in ({"score_date": pa.array([day] * 200, pa.date32())} | changes).items():
        rows = rows.set_column(rows.column_names.index(name), name, values)
    version = lake.replace("toy__features", rows, slice={"score_date": day}, partition_by=["score_date"])
    return InputVersion(table="toy__features", score_date=day, version=version, fingerprint=f"{number:08x}", rows=200)


def test_a_range_has_one_context_one_validation_a_day_and_a_page_of_each(project, lake, monkeypatch):
    project.expectations.write_text(SUITE)
    days = [put(lake, number) for number in range(4)]
    broken = put(lake, 9, x=pa.array([None] * 9 + [0.0] * 191))
    index = data_docs_folder(project) / "index.html"
    with counted(monkeypatch) as counts:
        with DayGates() as gates:
            for judged in days:
                assert day_gate(project, lake, judged, gates=gates).verdict is Verdict.PASS
            assert counts == {"contexts": 1, "validations": 4}
            # Its examples come from the same validation.
            assert day_gate(project, lake, broken, gates=gates).verdict is Verdict.PASS
            assert counts == {"contexts": 1, "validations": 5}
            assert not index.exists()
        assert all(f'href="{judged.score_date}.html"' in index.read_text() for judged in (*days, broken))


def test_a_page_shows_each_check_with_what_was_observed_and_expected(project, lake):
    project.expectations.write_text(SUITE)
    page = data_docs_folder(project) / f"{DAY}.html"
    for judged, observed in ((put(lake, 0, x=pa.array([5.0] * 200)), "5"), (put(lake, 0), "0.")):
        judge_alone(project, lake, judged)
        text = page.read_text()
        row = text.partition("expect_column_mean_to_be_between(x)")[2].partition("</tr>")[0]
        assert f"<bdi>{observed}" in row
        assert "from -1 to 1" in row
        assert "<td></td>" not in text


def test_a_kept_plan_says_of_each_day_what_the_library_says_of_it_alone():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expectations = [
            kinds()[item["expect"]](**{k: v for k, v in item.items() if k != "expect"}) for item in EXPECTATIONS
        ]
        own = Frames("toy")
        plan, differ = None, set()
        for name, rows in frames().items():
            batch = own.load(rows)
            plan = plan or ExpectationPlan(batch, expectations)
            kept = [result.success for result in plan.run()]
            # Each expectation by itself, as the library runs it, in a context of this day.
            alone = Frames("toy").load(rows)
            assert kept == [alone.validate(item, result_format=BOOLEAN_ONLY).success for item in expectations], name
            differ.add(tuple(kept))
    assert len(differ) > 5  # the days are told apart


def test_unexpected_values_that_the_library_does_not_count_in_rows_are_told():
    rows = day_rows(200)
    text = """
dataset: toy
expectations: [{expect: expect_column_distinct_values_to_be_in_set, column: colour, value_set: [red]}]
"""
    suite = checked_suite(text, Path("toy.yaml"), "toy", {field.name: field.type for field in rows.schema})
    (check,) = (found.check for found in validate(suite, rows))
    assert check.verdict is Verdict.FAIL
    assert "1 unexpected values, such as blue" in check.evidence


def test_the_index_of_a_folder_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(StorageError, match="Data Docs cannot be written"):
        write_index(tmp_path / "nowhere", "toy")
