"""Each fault does what it says, on its dates, and nothing else."""

from __future__ import annotations

import re
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest
from loan_world import World, days_of, loans
from loans.risk import LATER, Concept, log_odds

FIRST, LAST = date(2024, 3, 4), date(2024, 3, 13)
DAYS = days_of(FIRST, 10)
FILE_FAULTS = {
    "nulls": "income", "scaled": "income", "stuck": "utilisation", "unseen": "channel", "shifted_dates": "applied_at",
}  # fmt: skip
"""To the column that it changes."""


def _with(text: str, options: str = "") -> World:
    return World(faults=(loans.parse_fault(f"{text}:{FIRST}:{LAST}:{options}"),))


def _changed(left: pa.Table, right: pa.Table) -> set[str]:
    return {name for name in left.column_names if not left[name].equals(right[name])}


@pytest.mark.parametrize("kind", sorted(loans.FAULTS))
def test_days_outside_are_as_they_were(kind: str) -> None:
    world = _with(kind)
    for day in (FIRST - timedelta(days=1), LAST + timedelta(days=1)):
        assert world.applications(day).equals(World().applications(day))
        assert world.delivered(day) == day
        faulty, sound = world.outcomes(day), World().outcomes(day)
        assert np.array_equal(faulty.probability, sound.probability)
        assert np.array_equal(faulty.reported_at, sound.reported_at, equal_nan=True)
        assert np.array_equal(faulty.defaulted, sound.defaulted)


@pytest.mark.parametrize(("kind", "column"), FILE_FAULTS.items())
def test_a_fault_of_a_file_changes_one_column_and_never_the_truth(kind: str, column: str) -> None:
    for day in DAYS[:3]:
        assert _changed(_with(kind).applications(day), World().applications(day)) == {column}
        assert np.array_equal(_with(kind).outcomes(day).probability, World().outcomes(day).probability)


def test_nulls_come_in_the_share_that_was_asked_for() -> None:
    for column in ("income", "purpose", "term_months", "applied_at"):
        world = _with("nulls", f"column={column},share=0.3")
        before, after = (pa.concat_tables([one.applications(day) for day in DAYS])[column] for one in (World(), world))
        there = before.is_valid()
        share = 1 - np.asarray(after.is_valid())[np.asarray(there)].mean()
        assert 0.27 < share < 0.33, column
        kept = np.asarray(after.is_valid())
        assert after.filter(pa.array(kept)).equals(before.filter(pa.array(kept))), column


def test_another_unit_is_another_factor() -> None:
    day = DAYS[0]
    amounts = np.asarray(World().applications(day)["amount"])
    assert np.array_equal(
        np.asarray(_with("scaled", "column=amount,factor=100").applications(day)["amount"]), 100 * amounts
    )


def test_a_stuck_column_has_one_value() -> None:
    stuck = _with("stuck").applications(DAYS[0])["utilisation"]
    assert len(stuck.unique()) == 1
    assert stuck.null_count == 0
    assert stuck[0] == World().applications(DAYS[0])["utilisation"].drop_null()[0]


def test_duplicates_are_rows_that_stand_there_twice() -> None:
    sound, faulty = World().applications(DAYS[0]), _with("duplicates", "share=0.1").applications(DAYS[0])
    assert faulty.num_rows == sound.num_rows + round(0.1 * sound.num_rows)
    assert faulty.slice(0, sound.num_rows).equals(sound)
    again = faulty.slice(sound.num_rows).to_pylist()
    assert len({row["application_id"] for row in again}) == len(again)
    rows = sound.to_pylist()
    assert all(row in rows for row in again)


def test_unseen_values_replace_a_share() -> None:
    channels = np.concatenate([np.asarray(_with("unseen").applications(day)["channel"]) for day in DAYS])
    assert 0.17 < (channels == "comparison_site").mean() < 0.23


def test_dates_are_shifted_by_whole_days() -> None:
    shifted = np.asarray(_with("shifted_dates", "days=-2").applications(DAYS[0])["applied_at"])
    assert set(np.asarray(World().applications(DAYS[0])["applied_at"]) - shifted) == {np.timedelta64(2, "D")}


def test_a_missing_file_never_comes_and_a_late_one_comes_later(tmp_path) -> None:
    assert _with("missing").delivered(FIRST) is None
    late = World(rows=5, faults=(loans.parse_fault(f"late:{FIRST}:{FIRST}:days=2"),))
    names = [
        sorted(
            file.name for file in loans.write_days(late, FIRST, until, tmp_path) if file.parent.name == "applications"
        )
        for until in days_of(FIRST, 3)
    ]
    assert [f"applications-{FIRST}.parquet" in written for written in names] == [False, False, True]
    assert [len(written) for written in names] == [0, 1, 3]
    list(
        loans.write_days(World(rows=5, faults=(loans.parse_fault(f"missing:{FIRST}:{FIRST}"),)), FIRST, FIRST, tmp_path)
    )
    assert not (tmp_path / "applications" / f"applications-{FIRST}.parquet").exists()


def test_a_shift_of_the_population_changes_who_applies_and_not_what_risk_is() -> None:
    world, sound = _with("population", "shift=-1"), World()
    for day in DAYS[:3]:
        before, after = sound.columns(day), world.columns(day)
        assert len(before["income"]) == len(after["income"])
        assert np.nanmedian(after["income"]) < 0.85 * np.nanmedian(before["income"])
        assert np.nanmean(after["utilisation"]) > np.nanmean(before["utilisation"]) + 0.08
        assert np.nanmean(after["delinquencies_24m"]) > 1.6 * np.nanmean(before["delinquencies_24m"])
        assert np.array_equal(after["region"], before["region"])
        assert _shift_of(world, day, Concept()) == pytest.approx(_shift_of(sound, day, Concept()), abs=1e-9)
        assert world.outcomes(day).probability.mean() > 1.4 * sound.outcomes(day).probability.mean()


def test_a_base_rate_moves_all_log_odds_alike() -> None:
    world, sound = _with("base_rate", "shift=0.7"), World()
    for day in DAYS[:3]:
        assert world.applications(day).equals(sound.applications(day))
        odds = [np.log(one.outcomes(day).probability / (1 - one.outcomes(day).probability)) for one in (world, sound)]
        assert odds[0] - odds[1] == pytest.approx(0.7, abs=1e-9)


def test_a_change_of_concept_changes_how_the_same_columns_act() -> None:
    world, half, sound = _with("concept"), _with("concept", "strength=0.5"), World()
    for day in DAYS[:3]:
        assert world.applications(day).equals(sound.applications(day))
        assert _shift_of(world, day, LATER) == pytest.approx(_shift_of(sound, day, Concept()), abs=1e-9)
        chances = [one.outcomes(day).probability for one in (sound, half, world)]
        ranks = [np.argsort(np.argsort(chance)) for chance in chances]
        assert np.corrcoef(ranks[0], ranks[2])[0, 1] < np.corrcoef(ranks[0], ranks[1])[0, 1] < 0.99


def test_a_delay_of_labels_moves_their_reports_and_nothing_else() -> None:
    world, sound = _with("label_delay", "days=30"), World()
    faulty, before = world.outcomes(FIRST), sound.outcomes(FIRST)
    there = ~np.isnat(before.reported_at)
    assert set(faulty.reported_at[there] - before.reported_at[there]) == {np.timedelta64(30, "D")}
    assert np.isnat(faulty.reported_at[~there]).all()
    assert np.array_equal(faulty.defaulted, before.defaulted)
    report = world.repayments(FIRST + timedelta(days=211))
    assert any(name.startswith(f"L{FIRST:%Y%m%d}") for name in report["application_id"].to_pylist())


def test_wrong_labels_are_reported_as_their_opposite() -> None:
    world, sound = _with("wrong_labels", "share=0.2"), World()
    turned = np.concatenate([world.outcomes(day).defaulted != sound.outcomes(day).defaulted for day in DAYS])
    assert 0.18 < turned.mean() < 0.22
    assert np.array_equal(world.outcomes(FIRST).probability, sound.outcomes(FIRST).probability)


def test_faults_of_one_date_add_up() -> None:
    texts = ("base_rate", "nulls", "late")
    world = World(faults=tuple(loans.parse_fault(f"{text}:{FIRST}:{LAST}") for text in texts))
    assert world.delivered(FIRST) == FIRST + timedelta(days=3)
    assert _changed(world.applications(FIRST), World().applications(FIRST)) == {"income"}
    assert world.outcomes(FIRST).probability.mean() > World().outcomes(FIRST).probability.mean()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("flood:2024-03-01:2024-03-02", "expected one of population, base_rate, concept"),
        ("nulls:2024-03-01:2024-03-02:part=1", "no option 'part'; it has column, share"),
        ("missing:2024-03-01:2024-03-02:days=1", "it has none"),
        ("nulls:2024-03-01:soon", "Invalid isoformat string"),
        ("nulls:2024-03-01", "write nulls:FIRST:LAST"),
        ("nulls:2024-03-01:2024-03-02:share=much", "could not convert"),
        ("nulls:2024-03-02:2024-03-01", "2024-03-01 is before 2024-03-02"),
        ("nulls:2024-03-01:2024-03-02:column=age", "no column 'age'; it has application_id"),
    ],
)
def test_a_text_that_is_no_fault_says_what_is_expected(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        loans.parse_fault(text)


def _shift_of(world: World, day: date, concept: Concept) -> np.ndarray:
    """What the log odds have besides the columns' own part by a concept."""
    chance = world.outcomes(day).probability
    shift = np.log(chance / (1 - chance)) - log_odds(world.columns(day), concept)
    assert np.ptp(shift) < 1e-9
    return shift[0]
