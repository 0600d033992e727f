"""The level of a year is never overspent, whatever is tried, in whichever order, and looked at again."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import make_spec

from tallywright.data.delta.lake import Lake
from tallywright.gates.evidence.level import LEAST, YEAR, Spent, Try, level_of, level_of_look
from tallywright.gates.evidence.tries import spent_before, tries_of
from tallywright.gates.record import record_report, reports_of_gate
from tallywright.records import JUDGED_AGAINST, Check, GateReport, Verdict

if TYPE_CHECKING:
    from pathlib import Path

DAY = date(2025, 1, 1)
offsets = st.lists(st.integers(0, 800), min_size=1, max_size=60)


@given(offsets, st.floats(0.01, 0.4))
def test_no_year_spends_more_than_its_level(days: list[int], yearly: float) -> None:
    tries: list[Try] = []
    for offset in days:
        level = level_of(DAY + timedelta(days=offset), tries, yearly)
        assert level.level == 0 or level.level >= LEAST * yearly
        tries.append(Try(level.as_of, level.level))
    for one in tries:
        window = [other.level for other in tries if timedelta(0) <= other.as_of - one.as_of < YEAR]
        assert sum(window) <= yearly * (1 + 1e-9)


@given(offsets, st.integers(0, 800))
def test_where_nothing_is_left_the_next_date_has_a_level_and_no_date_before(days: list[int], offset: int) -> None:
    tries: list[Try] = []
    for before in days:
        level = level_of(DAY + timedelta(days=before), tries, 0.1)
        tries.append(Try(level.as_of, level.level))
    found = level_of(DAY + timedelta(days=offset), tries, 0.1)
    if found.level:
        assert found.free_from is None
        return
    assert found.free_from is not None
    assert found.free_from > found.as_of
    near = [one for one in tries if abs(one.as_of - found.as_of) < YEAR]
    assert level_of(found.free_from, near, 0.1).level > 0
    assert not level_of(found.free_from - timedelta(days=1), near, 0.1).level


@given(st.integers(1, 60), st.lists(st.integers(0, 70), min_size=1, max_size=12), st.integers(0, 60))
def test_looks_at_one_candidate_share_its_level(holdout: int, added: list[int], shadow: int) -> None:
    level, looks, days = level_of(DAY, (), 0.1), [], holdout
    for more in [0, *added]:
        days += more
        look = level_of_look(level, looks, days, holdout + shadow)
        assert look >= 0
        assert (look == 0) == (sum(looks) >= level.level * min(1, days / (holdout + shadow)) ** 2 * (1 - 1e-9))
        looks.append(look)
    assert sum(looks) <= level.level * (1 + 1e-9)
    if not shadow:
        assert looks[0] == level.level


def report(subject: str, champion: str, as_of: date, level: float, look: float) -> GateReport:
    observed = {JUDGED_AGAINST: champion, "as_of": as_of.isoformat(), "level": level, "look": look}
    checks = (Check(name=name, verdict=Verdict.PASS, observed=value) for name, value in observed.items())
    return GateReport(gate="quality", model="shop", subject=subject, checks=tuple(checks))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path))


def test_what_was_spent_is_read_from_the_reports(lake: Lake) -> None:
    from datetime import UTC, datetime

    spec = make_spec()

    def record(run: str, *about: object) -> None:
        record_report(lake, spec, report(*about), run_id=run, recorded_at=datetime(2025, 1, 1, tzinfo=UTC))  # type: ignore[arg-type]

    assert spent_before([lake], spec, "a", "champion", "run") == Spent()
    record("one", "a", "champion", DAY, 0.02, 0.01)
    record("two", "b", "champion", DAY, 0.016, 0.016)
    assert spent_before([lake], spec, "c", "champion", "run").tries == (Try(DAY, 0.02), Try(DAY, 0.016))
    # Judged again it is one try, and by the same run the same look.
    assert spent_before([lake], spec, "a", "champion", "again") == Spent((), (0.01,))
    assert spent_before([lake], spec, "a", "champion", "one") == Spent()
    record("again", "a", "champion", DAY + timedelta(days=30), 0.02, 0.005)
    assert spent_before([lake], spec, "a", "champion", "third") == Spent((), (0.01, 0.005))
    assert spent_before([lake], spec, "b", "champion", "two") == Spent((Try(DAY, 0.02),), ())
    # Against another champion it is another question.
    assert spent_before([lake], spec, "a", "another", "run").tries == (Try(DAY, 0.02), Try(DAY, 0.016))
    assert tries_of(one for _, one in reports_of_gate([lake], spec, "quality")) == (Try(DAY, 0.02), Try(DAY, 0.016))
