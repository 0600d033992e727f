"""How often the gate promotes, refuses and warns, in simulated worlds: no better, better, and worse on a slice.

Shares are judged by their confidence limits, so that a test is red once in thousands of runs where the promise holds.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from synthetic import make_spec

from tallywright.gates.evidence.level import Level, Try, level_of
from tallywright.gates.quality.scored_rows import ScoredRows, Scores
from tallywright.gates.quality.slices import slice_checks
from tallywright.gates.quality.superiority import champion_checks
from tallywright.records import Check, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ROWS = 900
"""Of a day."""
SPEC = make_spec(training={"slices": ["c0", "c1"]}, gates={"shadow_days": 0})
AS_OF = date(2025, 6, 1)
COMMON = 0.8
"""The share of two models' noise that they have in common, when they are of one recipe."""


def by_days(chance: np.random.Generator, days: int, spread: float, correlation: float) -> NDArray[np.float64]:
    """An AR(1) over days, from its stationary start."""
    found = chance.normal(size=days) * spread
    for day in range(1, days):
        found[day] = correlation * found[day - 1] + math.sqrt(1 - correlation**2) * found[day]
    return found


def world(  # noqa: PLR0913 - what a world may differ in
    seed: int,
    days: int,
    *,
    better: float = 0.0,
    correlation: float = 0.0,
    worse_slice: float = 0.0,
    skill: float = 0.0,
    common: float = COMMON,
) -> ScoredRows:
    """Scored rows of a candidate and a champion whose scores are the truth and noise.

    Args:
        seed: Of the world.
        days: How many.
        better: How much less noise the candidate has; 0.05 is about .005 of AUC.
        correlation: Of a day with the day before.
        worse_slice: Noise that the candidate has besides, on one slice of eight.
        skill: How much the noise of a model differs from day to day, as a standard deviation of its logarithm.
        common: The share of their noise that the models have in common.
    """
    chance = np.random.default_rng(seed)
    count = days * ROWS
    day = np.repeat(np.arange(days), ROWS)
    truth = chance.normal(size=count)
    level = by_days(chance, days, 0.3, correlation)[day] - 1.2
    target = (chance.random(count) < 1 / (1 + np.exp(-(truth + level)))).astype(np.float64)
    slices = pa.table({"c0": chance.integers(0, 8, count).astype(str), "c1": chance.integers(0, 3, count).astype(str)})
    shared = chance.normal(size=count) * math.sqrt(common)

    def scores(noise: float, extra: float) -> Scores:
        own = shared + chance.normal(size=count) * math.sqrt(1 - common)
        spread = noise * np.exp(by_days(chance, days, skill, correlation))[day] if skill else noise
        logit = truth + spread * own
        bad = np.asarray(slices["c0"]) == "0"
        logit = logit + np.where(bad, extra * chance.normal(size=count), 0.0)
        # Calibrated for the noise: the logit of what is known of the truth.
        return Scores(1 / (1 + np.exp(-(logit / (1 + noise**2) - 1.2))), 0.5)

    return ScoredRows(
        spec=SPEC,
        target=target,
        dates=(20_000 + day).astype(np.int32),
        candidate=scores(1.0 - better, worse_slice),
        champion=scores(1.0, 0.0),
        unseen=np.ones(count, dtype=np.bool_),
        slices=slices,
    )


def promoted(samples: Sequence[ScoredRows], level: Level, looks: Sequence[float] = ()) -> bool:
    checks = champion_checks(samples, level, looks, "")
    return all(check.verdict in {Verdict.PASS, Verdict.WARN} for check in checks)


def first_level(as_of: date = AS_OF) -> Level:
    return level_of(as_of, (), 0.1)


def at_most(share: float, worlds: int) -> float:
    """What a share of this many worlds stays below but in one of 10,000 tests."""
    return share + 4 * math.sqrt(share * (1 - share) / worlds)


def at_least(share: float, worlds: int) -> float:
    return share - 4 * math.sqrt(share * (1 - share) / worlds)


def share_of(found: Sequence[bool]) -> float:
    return sum(found) / len(found)


CALM = [pytest.param(14, 0.0, 60, id="14 days alike")]
MANY = [
    pytest.param(days, correlation, 600 if days < 40 else 200, id=f"{days} days, AR {correlation}",
                 marks=pytest.mark.long)
    for days in (6, 8, 10, 14, 28, 60)
    for correlation in (0.0, 0.5)
]  # fmt: skip


@pytest.mark.parametrize(("days", "correlation", "worlds"), [*CALM, *MANY])
def test_a_model_that_is_no_better_is_seldom_promoted(days: int, correlation: float, worlds: int) -> None:
    found = [promoted([world(seed, days, correlation=correlation)], first_level()) for seed in range(worlds)]
    assert share_of(found) <= at_most(0.05, worlds)


@pytest.mark.long
@pytest.mark.parametrize("skill", [0.0, 0.05])
def test_twelve_tries_of_a_year_promote_a_model_that_is_no_better_in_one_of_ten_at_most(skill: float) -> None:
    worlds, found = 150, []
    for number in range(worlds):
        tries: list[Try] = []
        any_promoted = False
        for attempt in range(12):
            as_of = date(2025, attempt + 1, 1)
            level = level_of(as_of, tries, 0.1)
            tries.append(Try(as_of, level.level))
            scored = world(10_000 + 12 * number + attempt, 14, correlation=0.3, skill=skill)
            any_promoted |= promoted([scored], level)
        found.append(any_promoted)
    assert share_of(found) <= at_most(0.10, worlds)


def in_shadow(seed: int, better: float, **how: Any) -> bool:
    """A candidate that is looked at on 14 days of holdout, and again after 28 days in shadow."""
    level = first_level()
    holdout, shadow = (world(2 * seed + part, days, better=better, **how) for part, days in enumerate((14, 28)))
    spec = SPEC.model_copy(update={"gates": SPEC.gates.model_copy(update={"shadow_days": 28})})
    samples = [replace(sample, spec=spec) for sample in (holdout, shadow)]
    if promoted(samples[:1], level):
        return True
    return promoted(samples, level, [level.level * (14 / 42) ** 2])


@pytest.mark.parametrize("worlds", [20, pytest.param(200, marks=pytest.mark.long)])
def test_a_small_gain_is_seen_after_four_weeks_in_shadow_more_often_than_not(worlds: int) -> None:
    """A gain of +.005 AUC, by models of the same recipe."""
    found = [in_shadow(seed, 0.05) for seed in range(worlds)]
    assert share_of(found) >= at_least(0.5, worlds)


@pytest.mark.long
def test_looks_at_holdout_and_shadow_together_promote_no_better_model_seldom() -> None:
    found = [in_shadow(seed, 0.0, correlation=0.5) for seed in range(300)]
    assert share_of(found) <= at_most(0.05, 300)


MONTHS_APART = {"common": 0.0, "skill": 0.24}
"""As two models on flights whose trainings lie three months apart: they share nothing but the truth, and the difference
of their AUC varies from day to day by .035, where two fits of one recipe on the same rows differ by .009."""


@pytest.mark.long
def test_models_trained_months_apart_err_no_more_and_show_less() -> None:
    none = [in_shadow(seed, 0.0, **MONTHS_APART) for seed in range(200)]
    assert share_of(none) <= at_most(0.05, 200)
    gains = [in_shadow(seed, 0.2, **MONTHS_APART) for seed in range(100)]
    assert share_of(gains) >= at_least(0.7, 100)


def of_slices(checks: Sequence[Check], verdict: Verdict) -> list[str]:
    return [check.name for check in checks if check.verdict is verdict]


@pytest.mark.parametrize("worlds", [15, pytest.param(200, marks=pytest.mark.long)])
def test_a_slice_made_worse_by_a_tenth_of_auc_is_refused_and_no_other(worlds: int) -> None:
    """The noise on one slice of eight costs .12 of its AUC, from .67 to .55."""
    found, others = [], []
    for seed in range(worlds):
        refused = of_slices(slice_checks([world(seed, 14, worse_slice=5.0)]), Verdict.FAIL)
        found.append("slice_c0=0" in refused)
        others.append(any("c0" in name and "c0=0" not in name for name in refused))
    assert share_of(found) >= at_least(0.95, worlds)
    assert share_of(others) <= at_most(0.05, worlds)


@pytest.mark.parametrize("worlds", [15, pytest.param(200, marks=pytest.mark.long)])
def test_models_that_are_nearly_equal_are_seldom_warned_about(worlds: int) -> None:
    told = []
    for seed in range(worlds):
        checks = slice_checks([world(seed, 14, better=0.02)])
        told.append(bool(of_slices(checks, Verdict.WARN) + of_slices(checks, Verdict.FAIL)))
    assert share_of(told) <= at_most(0.05, worlds)
