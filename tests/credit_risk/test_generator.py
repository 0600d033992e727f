"""A day of the generator depends on seed and date alone, and looks like a day of loan applications."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loan_world import FOLDER, World, days_of, loans
from loans.draws import Draws
from loans.population import rows_of

DAY = date(2024, 3, 6)
DAYS = st.dates(date(1995, 1, 1), date(2060, 1, 1))


@given(seed=st.integers(0, 2**63), day=DAYS, others=st.lists(DAYS, max_size=3))
def test_a_day_depends_on_no_other(seed: int, day: date, others: list[date]) -> None:
    alone = World(seed, 20).applications(day)
    world = World(seed, 20)
    for other in others:
        world.applications(other)
        world.outcomes(other)
    assert world.applications(day).equals(alone)
    assert np.array_equal(world.truth(day).probability, World(seed, 20).outcomes(day).probability)


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_a_file_has_the_same_bytes_whichever_range_is_asked_for(file_format: str, tmp_path: Path) -> None:
    alone, among = tmp_path / "alone", tmp_path / "among"
    written = list(loans.write_days(World(5, 8), DAY, DAY, alone, file_format))
    for _ in range(2):  # the second time over files that are there
        first, last = DAY - timedelta(days=1), DAY + timedelta(days=2)
        assert len(list(loans.write_days(World(5, 8), first, last, among, file_format))) == 8
        assert len(written) == 2
        for file in written:
            assert (among / file.relative_to(alone)).read_bytes() == file.read_bytes()
    assert sorted(file.name for file in among.rglob("*.part")) == []


def test_these_are_the_bytes() -> None:
    """Of this day and seed for ever: figures in the README, and tests elsewhere, rest on them."""
    table = World(1, 50).applications(DAY)
    assert hashlib.sha256(repr(table.to_pylist()).encode()).hexdigest()[:16] == "eacdc9a68e6efb77"


def test_another_seed_and_another_day_are_other_rows() -> None:
    tables = [
        World(seed).applications(day).drop_columns(["application_id"]) for seed in (1, 2) for day in days_of(DAY, 2)
    ]
    incomes = [tuple(table["income"].to_pylist()[:5]) for table in tables]
    assert len(set(incomes)) == len(incomes)


def test_fewer_rows_draw_the_same_numbers() -> None:
    many, few = (World(1, rows).columns(DAY) for rows in (900, 300))
    count = len(few["income"])
    assert count < len(many["income"]) / 2
    for name in set(few) - {"applied_at"}:  # these are in order, so more of them are others
        assert np.array_equal(few[name], many[name][:count], equal_nan=few[name].dtype.kind == "f"), name


def test_days_follow_the_week_and_the_year() -> None:
    rows = {day: rows_of(day, 900, Draws(1, day)) for day in days_of(date(2023, 1, 2), 364)}

    def mean(chosen: Any) -> float:
        return float(np.mean([count for day, count in rows.items() if chosen(day)]))

    assert mean(lambda day: day.weekday() == 0) > 1.3 * mean(lambda day: day.weekday() == 6)
    assert mean(lambda day: day.month in (3, 4, 5)) > 1.15 * mean(lambda day: day.month in (9, 10, 11))
    assert 850 < mean(lambda day: True) < 950
    june, december = (World().columns(date(2023, month, 15))["purpose"] == "electronics" for month in (6, 12))
    assert december.mean() > 2 * june.mean()


def test_instants_lie_on_the_day_in_order_and_keys_are_unique() -> None:
    for day in days_of(DAY, 5):
        table = World().applications(day)
        instants = np.asarray(table["applied_at"])
        assert set(instants.astype("datetime64[D]")) == {np.datetime64(day)}
        assert (np.diff(instants).astype(int) >= 0).all()
        assert len(pc.unique(table["application_id"])) == table.num_rows


def test_columns_hang_together_as_they_do_in_life() -> None:
    columns = [World().columns(day) for day in days_of(DAY, 20)]
    merged = {name: np.concatenate([one[name] for one in columns]) for name in columns[0]}

    def correlation(left: str, right: str) -> float:
        both = ~np.isnan(merged[left]) & ~np.isnan(merged[right])
        ranks = [np.argsort(np.argsort(merged[name][both])) for name in (left, right)]
        return float(np.corrcoef(*ranks)[0, 1])

    assert correlation("income", "amount") > 0.2
    assert correlation("amount", "term_months") > 0.5
    assert correlation("income", "utilisation") < -0.25
    assert correlation("utilisation", "delinquencies_24m") > 0.1
    no_file = np.isnan(merged["history_months"])
    assert np.isnan(merged["delinquencies_24m"][no_file]).all()
    assert np.isnan(merged["utilisation"][no_file]).all()
    assert 0.09 < no_file.mean() < 0.14
    assert np.isnan(merged["years_employed"][np.isin(merged["employment"], ["retired", "student", "none"])]).all()
    assert set(merged["employment"][np.isnan(merged["income"])]) == {"self_employed"}


def _generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER / "generate.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_script_writes_what_the_module_gives(tmp_path: Path) -> None:
    done = _generate("--from", f"{DAY}", "--to", "2024-03-07", "--output", f"{tmp_path}", "--rows", "20",
                     "--seed", "3", "--format", "csv",
                     "--fault", "missing:2024-03-07:2024-03-07")  # fmt: skip
    assert done.stdout == f"3 files in {tmp_path}\n", done.stderr
    assert not list((tmp_path / "applications").glob("*2024-03-07*"))
    lines = (tmp_path / "applications" / f"applications-{DAY}.csv").read_text().splitlines()
    assert len(lines) == World(3, 20).applications(DAY).num_rows + 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "2024-03-02", "--to", "2024-03-01"), "--to 2024-03-01 is before --from 2024-03-02"),
        (
            ("--from", "2024-03-02", "--to", "2024-03-02", "--fault", "flood:2024-03-01:2024-03-02"),
            "'flood' is no fault",
        ),
    ],
)
def test_the_script_says_what_is_wrong(arguments: tuple[str, ...], said: str) -> None:
    done = _generate(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
