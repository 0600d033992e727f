"""What a record says it was made by holds for ever, whatever fields are invented later."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field

from tallywright.spec.base import Identity
from tallywright.spec.sections import Gates, MetricBound, Retraining, Scoring

CANARY = {"model": 3, "share": 0.25, "limits": {"max_problem_share": 0.01}}
GATES = {
    "primary_metric": "log_loss",
    "floors": {"roc_auc": {"min": 0.6}, "log_loss": {"max": 0.65, "min": 0.1}},
    "max_calibration_error": 0.15,
    "bootstrap": 200,
}
FIRST = [
    (Gates, {}, "13819af16ac202f98a207106097611d4de92dd1e6ea15e0c8a32a85b2cdaaae0"),
    (Gates, GATES, "3ff2b7630205f6037db41c1a44480f9483f082fb86b03105531960445e93e85d"),
    (Scoring, {}, "78223d46fdb183493f1317458f0099631d4bda40a2652720b7a6c28f516b6135"),
    (Scoring, {"threshold": 0.4, "engine": "spark", "workers": 3, "shadow": [2]},
     "3dcbdc6acee135804d796d0605ae229f741cc7b3fa03c9ce6832cb38459dec87"),
    (Scoring, {"canary": CANARY}, "bfb392903b6911d448b3cd4279ce45d04e97ce999eeff928e572d881b68c0171"),
    (Scoring, {"fallback": {"model": "constant", "constant": 0.5, "covers": ["package", "output"]}},
     "f4b80bb99a9fc34bd38cf52714f04db40a128f9e991202d111765e0d9565af6f"),
    (Retraining, {}, "fbb446f450b50dc3fffb82f62497f0e39665c7ffcd2e657971a7cce661629d07"),
    (Retraining, {"num_evaluation_windows": 9, "trigger": False, "cooldown_days": 3, "min_violated_columns": 2},
     "51378528ff0002bebc4f428a9230cb579966c951d7f54cb9e338f5d94df39a8c"),
]  # fmt: skip
"""Written by version 0.1.0 before there was another form: they stand in lakes, and never change."""


class LaterBound(MetricBound):
    tolerance: float = 0.0


class LaterGates(Gates):
    seasons: int = 4
    floors: dict[str, LaterBound] = Field(default_factory=dict)  # type: ignore[assignment]


class LaterScoring(Scoring):
    rounding: str = "none"


class LaterRetraining(Retraining):
    patience: int = 2


LATER = {Gates: LaterGates, Scoring: LaterScoring, Retraining: LaterRetraining}
SAID = {Gates: {"seasons": 5}, Scoring: {"rounding": "half"}, Retraining: {"patience": 3}}


@pytest.mark.parametrize(("section", "values", "stored"), FIRST)
def test_records_of_the_first_version_are_recognised(section: Any, values: dict[str, Any], stored: str) -> None:
    identity = section(**values).identity()
    assert identity.first == stored
    assert identity.matches(stored)
    assert identity.oldest == stored
    assert identity.current.startswith("1:")
    assert identity.matches(identity.current)


@pytest.mark.parametrize(("section", "values", "stored"), FIRST)
def test_a_field_that_is_invented_changes_no_history(section: Any, values: dict[str, Any], stored: str) -> None:
    before, later = section(**values).identity(), LATER[section](**values).identity()
    assert later == before
    said = LATER[section](**values, **SAID[section]).identity()
    assert not said.matches(stored)
    assert not said.matches(before.current)
    assert said.oldest == said.current


def test_a_field_invented_inside_a_bound_counts_too() -> None:
    before = Gates(**GATES).identity()
    floors = GATES["floors"] | {"roc_auc": {"min": 0.6, "tolerance": 0.1}}
    said = LaterGates(**GATES | {"floors": floors}).identity()
    assert not said.matches(before.first)
    assert not said.matches(before.current)


def test_a_default_that_is_written_out_is_no_change() -> None:
    assert Scoring(threshold=0.5).identity() == Scoring().identity()
    limits = {"max_problem_share": 0.01, "max_mean_difference": 0.05}
    assert Scoring(canary=CANARY | {"limits": limits}).identity() == Scoring(canary=CANARY).identity()
    assert Gates(**GATES, min_gain=0.0).identity() == Gates(**GATES).identity()


def test_every_change_of_a_result_is_seen_in_both_forms() -> None:
    for section, values, _ in FIRST:
        identity = section(**values).identity()
        others = [other(**words).identity() for other, words, _ in FIRST if other is section and words != values]
        assert all(not identity.matches(other.first) and not identity.matches(other.current) for other in others)


def test_what_says_nothing_matches_nothing() -> None:
    assert not Identity(current="1:a", first="").matches("")
    assert not Scoring().identity().matches("")
