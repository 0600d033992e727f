from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tallywright.records import Promotion
from tallywright.registry import promotion_log

DAY = date(2013, 6, 1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def line(sequence, version, effective, recorded=None, action="promote") -> Promotion:
    return Promotion(
        model="m",
        sequence=sequence,
        action=action,
        model_version=version,
        package_digest=f"digest{version}",
        trained_through=DAY - timedelta(days=30),
        effective_from=DAY + timedelta(days=effective),
        recorded_at=NOW + timedelta(minutes=sequence if recorded is None else recorded),
        approver="somebody",
        reason="because",
    )


LINES = st.lists(st.tuples(st.integers(1, 4), st.integers(-5, 5), st.integers(0, 4)), max_size=12).map(
    lambda items: [line(i + 1, version, effective, recorded) for i, (version, effective, recorded) in enumerate(items)]
)


def known(lines: list[Promotion], instant: datetime | None) -> list[Promotion]:
    """The lines at an instant: a log only grows, so whatever stands before a known line is known."""
    in_order = sorted(lines, key=lambda item: item.sequence)
    if instant is None:
        return in_order
    recorded = [index for index, item in enumerate(in_order) if item.recorded_at <= instant]
    return in_order[: recorded[-1] + 1] if recorded else []


def naive_champion(lines: list[Promotion], day: date, known_at: datetime | None) -> Promotion | None:
    """The rule of `records.Promotion`, word for word, by comparing each line with the best one so far."""
    best: Promotion | None = None
    for item in known(lines, known_at):
        if item.effective_from > day:
            continue
        if best is None or (item.effective_from, item.sequence) > (best.effective_from, best.sequence):
            best = item
    return best


@given(LINES, st.integers(-7, 7), st.none() | st.integers(-1, 6), st.randoms())
def test_champion_is_what_the_rule_says(lines, offset, minutes, random):
    day = DAY + timedelta(days=offset)
    known_at = None if minutes is None else NOW + timedelta(minutes=minutes)
    shuffled = random.sample(lines, len(lines))
    assert promotion_log.champion_on(shuffled, day, known_at) == naive_champion(lines, day, known_at)


@given(LINES, st.integers(-7, 7), st.integers(-1, 6))
def test_what_was_known_then_is_not_changed_by_later_lines(lines, offset, minutes):
    day, known_at = DAY + timedelta(days=offset), NOW + timedelta(minutes=minutes)
    earlier = known(lines, known_at)
    assert promotion_log.champion_on(lines, day, known_at) == promotion_log.champion_on(earlier, day)


@given(LINES)
def test_the_last_standing_model_is_the_champion(lines):
    stack = promotion_log.not_withdrawn(lines)
    assert (stack[-1] if stack else None) == promotion_log.champion_on(lines, None)


def test_nobody_before_the_first_promotion():
    assert promotion_log.champion_on([line(1, 1, 3)], DAY) is None


def test_a_rollback_goes_back_and_never_to_what_was_withdrawn():
    lines = [line(1, 1, 0), line(2, 2, 1), line(3, 3, 2)]
    assert promotion_log.previous(lines).model_version == 2
    lines.append(line(4, 2, 3, action="rollback"))
    assert promotion_log.champion_on(lines, None).model_version == 2
    assert promotion_log.previous(lines).model_version == 1
    lines.append(line(5, 1, 4, action="rollback"))
    assert promotion_log.previous(lines) is None


def test_previous_is_as_of_the_day():
    lines = [line(1, 1, 0), line(2, 2, 5)]
    assert promotion_log.previous(lines, DAY + timedelta(days=4)) is None
    assert promotion_log.previous(lines, DAY + timedelta(days=5)).model_version == 1


@given(LINES, st.integers(-7, 7))
def test_clocks_decide_nothing(lines, offset):
    day = DAY + timedelta(days=offset)
    right = [item.model_copy(update={"recorded_at": NOW + timedelta(days=item.sequence)}) for item in lines]
    found, expected = promotion_log.champion_on(lines, day), promotion_log.champion_on(right, day)
    assert (found and found.sequence) == (expected and expected.sequence)
    assert [item.sequence for item in promotion_log.not_withdrawn(lines)] == [
        item.sequence for item in promotion_log.not_withdrawn(right)
    ]
