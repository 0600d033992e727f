"""A challenger beside the champion: what a stage finds, how often it is wrong, and that its looks are paid for."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.gates.evidence.interval import MIN_DAYS
from tallywright.gates.evidence.trial import Arm, Look, TrialFinding, TrialQuestion, look_at, spent_by_look

TEST = TrialQuestion(task="binary", metric="log_loss", days=14, worse_level=0.05, level=0.05, test=True)
STAGE = replace(TEST, test=False, worse_level=0.02)


def sides(seed: int, days: int, rows: int, *, worse: float = 0.0, correlation: float = 0.0) -> tuple[Arm, Arm]:
    """Rows of a challenger and of a champion, other rows of the same days; `worse` is noise that it has besides."""
    chance = np.random.default_rng(seed)
    of_day = chance.normal(size=days) * 0.4
    for day in range(1, days):
        of_day[day] = correlation * of_day[day - 1] + math.sqrt(1 - correlation**2) * of_day[day]

    def side(noise: float) -> Arm:
        day = np.repeat(np.arange(days), rows)
        truth = chance.normal(size=days * rows)
        target = (chance.random(days * rows) < 1 / (1 + np.exp(-(truth + of_day[day] - 1)))).astype(np.float64)
        own = noise * (1 + 0.1 * chance.normal(size=days)[day])
        scores = 1 / (1 + np.exp(-((truth + own * chance.normal(size=days * rows)) / (1 + noise**2) - 1)))
        return Arm(target, scores, (20_000 + day).astype(np.int64))

    return side(0.8 + worse), side(0.8)


def found(seeds: range, question: TrialQuestion, **how: float) -> dict[TrialFinding, float]:
    worlds = [look_at(*sides(seed, question.days, 60, **how), question).finding for seed in seeds]  # type: ignore[arg-type]
    return {finding: worlds.count(finding) / len(worlds) for finding in TrialFinding}


@given(st.integers(MIN_DAYS, 60), st.floats(0.001, 0.4))
def test_all_looks_together_spend_the_level_and_no_more(planned: int, level: float) -> None:
    spent = [spent_by_look(level, days, planned) for days in range(MIN_DAYS, planned + 1)]
    assert sum(spent) == pytest.approx(level)
    assert min(spent) > 0


@pytest.mark.parametrize("worlds", [200, pytest.param(2_000, marks=pytest.mark.long)])
def test_an_equal_challenger_is_seldom_found_better_or_worse_though_one_looks_every_day(worlds: int) -> None:
    """Each wrong end comes in 1 % of worlds, below its level; if each look took the whole level, in 9 to 10 %."""
    rates = found(range(worlds), TEST)
    assert rates[TrialFinding.BETTER] <= TEST.level
    assert rates[TrialFinding.WORSE] <= TEST.worse_level
    assert rates[TrialFinding.NOT_SHOWN] >= 1 - TEST.level - TEST.worse_level
    assert not rates[TrialFinding.OPEN]


@pytest.mark.long
@pytest.mark.parametrize("correlation", [0.0, 0.5])
@pytest.mark.parametrize("metric", ["log_loss", "roc_auc"])
def test_so_it_is_over_four_weeks_and_where_days_resemble_their_neighbours(metric: str, correlation: float) -> None:
    rates = found(range(400), replace(TEST, metric=metric, days=28), correlation=correlation)
    assert rates[TrialFinding.BETTER] <= TEST.level
    assert rates[TrialFinding.WORSE] <= TEST.worse_level


def test_a_better_and_a_worse_challenger_are_found_before_the_days_are_over() -> None:
    better = look_at(*sides(1, 14, 2_000, worse=-0.7), TEST)
    assert better.finding is TrialFinding.BETTER
    assert better.days < 14
    assert "gain +" in better.told("log_loss")
    worse = look_at(*sides(1, 14, 2_000, worse=3.0), STAGE)
    assert (worse.finding, worse.days < 14) == (TrialFinding.WORSE, True)


def test_a_stage_is_left_by_a_version_that_is_not_shown_to_be_worse() -> None:
    assert look_at(*sides(3, 13, 60), STAGE).finding is TrialFinding.OPEN
    held = look_at(*sides(3, 14, 60), STAGE)
    assert (held.finding, held.days) == (TrialFinding.HELD, 14)
    # What was asked is a margin that so few rows cannot show.
    assert look_at(*sides(3, 14, 60), replace(STAGE, margin=0.001)).finding is TrialFinding.NOT_SHOWN
    assert look_at(*sides(3, 14, 60), replace(STAGE, margin=0.5)).finding is TrialFinding.HELD


def test_worse_by_less_than_may_be_is_not_worse() -> None:
    worse = sides(1, 14, 2_000, worse=3.0)
    assert look_at(*worse, replace(STAGE, max_loss=0.9)).finding is TrialFinding.HELD


def test_what_is_found_does_not_depend_on_who_looked_when_nor_on_the_order_of_rows() -> None:
    """The end that the first look finds is the end for every later one."""
    mine, its = sides(1, 14, 2_000, worse=3.0)
    ends = {}
    for days in range(1, 15):
        until = [Arm(*(values[side.days < 20_000 + days] for values in (side.target, side.scores, side.days)))
                 for side in (mine, its)]  # fmt: skip
        ends[days] = look_at(until[0], until[1], STAGE)
    first = next(days for days, look in ends.items() if look.finding is TrialFinding.WORSE)
    assert all(ends[days] == ends[first] for days in range(first, 15))
    assert all(ends[days].finding is TrialFinding.OPEN for days in range(1, first))
    order = np.random.default_rng(0).permutation(len(mine.days))
    shuffled = Arm(mine.target[order], mine.scores[order], mine.days[order])
    assert look_at(shuffled, its, STAGE).days == ends[first].days


def test_days_that_one_side_lacks_and_days_that_define_nothing_are_no_evidence() -> None:
    mine, its = sides(1, 14, 60)
    without = Arm(*(values[mine.days != 20_003] for values in (mine.target, mine.scores, mine.days)))
    assert look_at(without, its, STAGE) == replace(look_at(without, its, STAGE), finding=TrialFinding.OPEN, days=13)
    one_class = Arm(np.zeros_like(mine.target), mine.scores, mine.days)
    assert look_at(one_class, its, replace(STAGE, metric="roc_auc")) == Look(TrialFinding.UNDEFINED, 14)
    assert "no interval after 14 days" in look_at(one_class, its, replace(STAGE, metric="roc_auc")).told("roc_auc")


def test_a_stage_whose_days_do_not_define_the_metric_ends_with_them_whoever_looks_when() -> None:
    """Positives on one day alone: AUC is not defined without it."""
    question = replace(STAGE, metric="roc_auc")
    of_one_day = [replace(side, target=side.target * (side.days == 20_003)) for side in sides(1, 14, 60)]
    assert look_at(of_one_day[0], of_one_day[1], replace(question, days=15)).finding is TrialFinding.OPEN
    look = look_at(of_one_day[0], of_one_day[1], question)
    assert look == Look(TrialFinding.UNDEFINED, 14)
    assert look.told("roc_auc").endswith("after 14 days: without one of them their labels do not define it")
    # Whoever looks only when later days have positives finds what had been found by then.
    later = [replace(side, target=side.target * ((side.days == 20_003) | (side.days > 20_013)))
             for side in sides(1, 20, 60)]  # fmt: skip
    assert look_at(later[0], later[1], question) == look
