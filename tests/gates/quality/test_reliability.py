"""The tenths of a reliability plot: what they say of rows whose truth is known, and that a report keeps all of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from synthetic import make_spec

from tallywright.gates.quality.reliability import RELIABILITY, Tenth, reliability_checks, tenths_of
from tallywright.gates.quality.scored_rows import ScoredRows, Scores
from tallywright.records import Check, GateReport, Verdict

ROWS = 4_000


def scored(task: str = "binary", *, days: int = 20, bias: float = 0.0, **columns: np.ndarray) -> ScoredRows:
    """Scores of rows whose chance is the score less the bias."""
    random = np.random.default_rng(3)
    chance = random.uniform(size=ROWS)
    values = columns.get("values", np.clip(chance + bias, 0, 1))
    target = columns.get("target", (random.uniform(size=ROWS) < chance).astype(float))
    return ScoredRows(
        spec=make_spec(training={"task": task}),
        target=target,
        dates=(np.arange(len(target)) * days // len(target)).astype(np.int32),
        candidate=Scores(values, 0.5),
        champion=None,
        unseen=np.ones(len(target), dtype=np.bool_),
        slices=pa.table({}),
    )


def tenths(rows: ScoredRows) -> list[Tenth]:
    return tenths_of(GateReport(gate="quality", model="shop", subject="d", checks=tuple(reliability_checks(rows))))


def test_scores_that_are_right_lie_on_the_diagonal_and_a_bias_is_seen() -> None:
    right, wrong = tenths(scored()), tenths(scored(bias=0.2))
    assert sum(one.rows for one in right) == sum(one.rows for one in wrong) == ROWS
    assert all(abs(one.predicted - one.observed) < 0.06 for one in right)
    assert sum(one.lower <= one.predicted <= one.upper for one in right) >= 8
    assert sum(one.upper < one.predicted for one in wrong) >= 6
    assert [one.predicted for one in right] == sorted(one.predicted for one in right)


def test_the_order_of_the_rows_changes_nothing() -> None:
    rows = scored()
    ties = replace(rows, candidate=Scores(rows.candidate.values.round(1), 0.5))
    order = np.random.default_rng(1).permutation(ROWS)
    mixed = replace(
        ties, target=ties.target[order], dates=ties.dates[order], candidate=Scores(ties.candidate.values[order], 0.5)
    )
    assert reliability_checks(mixed) == reliability_checks(ties)


def test_few_days_have_no_interval_and_no_rows_no_check() -> None:
    assert {(one.lower, one.upper) for one in tenths(scored(days=3))} == {(None, None)}
    empty = np.empty(0)
    assert reliability_checks(scored(values=empty, target=empty)) == []


def test_the_surest_class_of_many_and_the_values_of_a_regression() -> None:
    classes = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]] * 50)
    (sure, surer) = tenths(scored("multiclass", values=classes, target=np.array([0.0, 0.0] * 50)))
    assert (sure.predicted, sure.observed, surer.predicted, surer.observed) == (0.6, 0, 0.7, 1)
    hours = np.linspace(-1e6, 1e6, ROWS)
    found = tenths(scored("regression", values=hours, target=hours + 3))
    assert len(found) == 10
    assert (found[0].predicted, found[0].observed) == pytest.approx((-900_000, -900_000), rel=1e-3)


@pytest.mark.parametrize("text", ["", "nonsense", "0.1 -> 0.2 of many rows", "1 -> 2 of 3 rows and more"])
def test_what_is_no_tenth_is_none(text: str) -> None:
    check = Check(name=RELIABILITY, verdict=Verdict.PASS, evidence=text)
    assert tenths_of(GateReport(gate="quality", model="shop", subject="d", checks=(check,))) == []
