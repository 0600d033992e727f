from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.errors import UsageError
from tallywright.monitoring.policy import DaySignals, fold, state_word
from tallywright.records import DayState, RetrainDecision
from tallywright.spec.sections import Retraining

FIRST = date(2013, 3, 1)


def signals(text: str, *, version: int = 1) -> list[DaySignals]:
    """A day a letter: v violates, p violates by performance, b is broken (and looks terrible), a dot is quiet."""
    days = []
    for offset, letter in enumerate(text):
        days.append(
            DaySignals(
                model="flights",
                score_date=FIRST + timedelta(days=offset),
                model_version=version,
                broken="day gate failed" if letter == "b" else "",
                drifted=("temperature", "wind") if letter in "vb" else (),
                performance=("roc_auc of yesterday",) if letter == "p" else (),
            )
        )
    return days


def states(decisions: list[RetrainDecision]) -> str:
    return " ".join(str(decision.state) + ("!" if decision.retrain else "") for decision in decisions)


def policy(k: int = 2, n: int = 3, cooldown: int = 3, columns: int = 1) -> Retraining:
    return Retraining(
        num_violation_windows=k, num_evaluation_windows=n, cooldown_days=cooldown, min_violated_columns=columns
    )


@pytest.mark.parametrize("said", ["broken", "closed", "partial"])
def test_what_was_not_judged_never_reads_ok_and_the_fold_is_what_it_was(said: str) -> None:
    days = signals("..v.")
    for place in (1, 3):
        days[place] = days[place].model_copy(update={said: True if said == "partial" else "why"})
    found = fold(days, policy())
    assert states(found) == "ok ok suspected suspected"
    word = {"broken": "broken_day", "closed": "closed_day", "partial": "part_of_a_day"}[said]
    assert [state_word(one.state, one.reasons) for one in found] == ["ok", word, "suspected", word]


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ("....", "ok ok ok ok"),
        ("v...", "suspected suspected suspected ok"),
        ("v.v", "suspected suspected confirmed!"),
        ("p.p", "suspected suspected confirmed!"),
        ("vv.....", "suspected confirmed! retraining retraining retraining ok ok"),
        ("vbv", "suspected suspected confirmed!"),
        ("vb", "suspected suspected"),
        ("bbbb", "ok ok ok ok"),
        ("", ""),
    ],
)
def test_the_states_follow_the_signals(days: str, expected: str) -> None:
    assert states(fold(signals(days), policy())) == expected


def test_a_decision_that_nobody_acted_on_starts_no_retraining() -> None:
    days = [day.model_copy(update={"acted": False}) for day in signals("vvv...")]
    assert states(fold(days, policy())) == "suspected confirmed! confirmed! confirmed! suspected ok"


def test_what_became_of_a_training_is_known_to_later_days_alone() -> None:
    days = signals("vv...")
    running = fold(days, policy())
    refused = fold([days[0], days[1].model_copy(update={"outcome": "refused, 2 in a row"}), *days[2:]], policy())
    assert states(refused) == "suspected confirmed! cooldown cooldown cooldown"
    assert [one.decision_id for one in refused[:2]] == [one.decision_id for one in running[:2]]
    assert "training: refused, 2 in a row" in refused[2].reasons


def test_what_could_not_be_judged_is_never_ok() -> None:
    quiet = signals("..")
    few = [quiet[0].model_copy(update={"unjudged": ("drift: 91 rows, at least 200",)}), quiet[1]]
    decisions = fold(few, policy())
    assert states(decisions) == "not judged ok"
    assert decisions[0].reasons == ("not_judged: drift: 91 rows, at least 200",)
    # a signal that is not there changes no decision that was made before there was such a signal
    assert "unjudged" not in fold(quiet, policy())[0].signals_json


def test_violations_in_the_cooldown_count_only_once_it_is_over() -> None:
    decisions = fold(signals("vvvvvv"), policy(cooldown=3))
    assert states(decisions) == "suspected confirmed! retraining retraining retraining confirmed!"


def test_a_broken_day_never_retrains_but_the_next_sound_one_may() -> None:
    decisions = fold(signals("vvvvvb."), policy(cooldown=3, n=4))
    assert states(decisions[5:]) == "confirmed confirmed!"
    assert any(reason.startswith("broken_day: day gate failed") for reason in decisions[5].reasons)


def test_a_new_champion_turns_retraining_into_cooldown_and_starts_with_a_clean_slate() -> None:
    days = signals("vv") + [
        day.model_copy(update={"model_version": 2, "score_date": day.score_date + timedelta(days=2)})
        for day in signals("vvvv")
    ]
    assert states(fold(days, policy(cooldown=2))) == "suspected confirmed! cooldown cooldown confirmed! retraining"
    only_old = signals("v") + [
        day.model_copy(update={"model_version": 2, "score_date": day.score_date + timedelta(days=1)})
        for day in signals("v")
    ]
    assert states(fold(only_old, policy())) == "suspected suspected"


def test_fewer_columns_than_the_policy_asks_for_are_reported_and_do_not_count() -> None:
    decision = fold(signals("v"), policy(columns=3))[0]
    assert decision.state is DayState.OK
    assert decision.reasons == ("drift: 2 columns (fewer than 3): temperature, wind",)


def test_quiet_days_give_no_reason_and_loud_ones_say_which() -> None:
    quiet, loud = fold(signals(".v"), policy())
    assert quiet.reasons == ()
    assert [reason.split(":")[0] for reason in loud.reasons] == ["drift", "violations"]


def test_trigger_is_not_part_of_the_policy_but_the_counts_are() -> None:
    def decided(section: Retraining) -> str:
        return fold(signals("v"), section)[0].decision_id

    assert decided(policy()) == decided(policy().model_copy(update={"trigger": False}))
    assert decided(policy()) != decided(policy(k=3))


@pytest.mark.parametrize("offsets", [(0, 0), (1, 0)])
def test_days_out_of_order_are_refused(offsets: tuple[int, int]) -> None:
    days = [signals("..")[offset] for offset in offsets]
    with pytest.raises(UsageError, match="follow"):
        fold(days, policy())


@st.composite
def histories(draw: st.DrawFn) -> list[DaySignals]:
    """Days with gaps, broken ones, several champions."""
    days: list[DaySignals] = []
    today, version = FIRST, 1
    for letter in draw(st.text(alphabet="vvpb..", max_size=40)):
        today += timedelta(days=draw(st.integers(1, 3)))
        version += draw(st.sampled_from([0, 0, 0, 0, 1]))
        days.append(signals(letter, version=version)[0].model_copy(update={"score_date": today}))
    return days


@st.composite
def policies(draw: st.DrawFn) -> Retraining:
    windows = draw(st.integers(1, 8))
    return policy(draw(st.integers(1, windows)), windows, draw(st.integers(0, 10)), draw(st.integers(1, 3)))


@given(histories(), policies(), st.integers(0, 40))
def test_a_decision_depends_on_nothing_later(days: list[DaySignals], rule: Retraining, cut: int) -> None:
    assert fold(days[:cut], rule) == fold(days, rule)[:cut]


@given(histories(), policies())
def test_the_same_signals_give_the_same_rows(days: list[DaySignals], rule: Retraining) -> None:
    again = fold([DaySignals.from_json(day.to_json()) for day in days], rule)
    assert again == fold(days, rule)
    assert len({decision.decision_id for decision in again}) == len(again) == len(days)


@given(histories(), policies())
def test_the_cooldown_is_respected_and_only_sound_days_retrain(days: list[DaySignals], rule: Retraining) -> None:
    retrained = [(day, decision) for day, decision in zip(days, fold(days, rule), strict=True) if decision.retrain]
    assert not any(day.broken for day, _ in retrained)
    dates = [day.score_date for day, _ in retrained]
    gaps = [(later - earlier).days for earlier, later in pairwise(dates)]
    assert all(gap > rule.cooldown_days for gap in gaps)


@given(histories(), policies())
def test_what_a_broken_day_shows_is_never_evidence(days: list[DaySignals], rule: Retraining) -> None:
    silenced = [
        day.model_copy(update={"drifted": (), "performance": (), "model_version": 0}) if day.broken else day
        for day in days
    ]
    assert [(d.state, d.retrain) for d in fold(silenced, rule)] == [(d.state, d.retrain) for d in fold(days, rule)]


@given(histories(), policies())
def test_broken_days_change_no_decision_of_the_others(days: list[DaySignals], rule: Retraining) -> None:
    sound = [day for day in days if not day.broken]
    with_them = {d.score_date: (d.state, d.retrain) for d in fold(days, rule)}
    assert all(with_them[d.score_date] == (d.state, d.retrain) for d in fold(sound, rule))
