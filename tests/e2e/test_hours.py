"""An hourly model at the command line: late labels settle however runs are cut, and what does not fit is refused."""

from __future__ import annotations

import json
import os
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from cadences import add_model, write_orders
from forked_tally import run_tally
from old_lake import readdress
from pyarrow import csv

pytestmark = [pytest.mark.slow, pytest.mark.long]

HOURLY: dict[str, dict[str, Any]] = {
    "schedule": {
        "timezone": "Europe/Berlin", "start_date": date(2025, 3, 20), "end_date": date(2025, 4, 2),
        "closed": {"hours": [22, 23]},
    },
    "data": {
        "lookback_days": 8, "label_maturity_days": None, "label_maturity_periods": 3, "label_wait_periods": 8,
        "min_rows_share": 0.1,
    },
    "training": {
        "network": {"hidden": [8], "epochs": 2}, "refit": False, "baselines": False,
        "window_days": 3, "validation_days": 1, "holdout_days": 1,
    },
    "gates": {"floors": {}, "max_calibration_error": 1.0, "min_holdout_rows": 20},
    "monitoring": {"min_rows": 10, "min_labels": 1},
}  # fmt: skip


class Hours:
    """The project in a folder, and its commands."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def tally(self, *arguments: str, code: int = 0) -> str:
        done = run_tally(arguments, self.root, os.environ)
        assert done.returncode == code, (arguments, done.stderr)
        return done.stdout if code == 0 else done.stderr

    def rows(self, sql: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.tally("query", sql, "--limit", "5000", "--json"))
        return found

    def realised(self) -> list[dict[str, Any]]:
        return self.rows(
            "select score_hour, label_age_days, known, never, missing from hours__performance "
            "where metric = 'coverage' and slice_key is null order by all"
        )

    def versions(self) -> dict[str, int]:
        tables = (self.root / ".tally/lake").iterdir()
        return {table.name: len(list((table / "_delta_log").glob("*.json"))) for table in tables}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Hours:
    """A trained model whose labels come after 30 minutes, 5 or 6 hours, or never."""
    root = tmp_path_factory.mktemp("hours") / "project"
    raw = add_model(root, "hours", "hour", HOURLY) / "raw"
    write_orders(raw, [(date(2025, 3, 19), date(2025, 4, 2))], an_hour=6)
    delivered = csv.read_csv(raw / "deliveries.csv")
    late = pa.array([(0, 0, 5, 5, 6, None)[number % 6] for number in range(delivered.num_rows)])
    moved = pc.add(delivered["delivered_at"], pc.multiply(late.cast(pa.int64()), 3600).cast(pa.duration("s")))
    delivered = delivered.set_column(1, "delivered_at", moved).filter(late.is_valid())
    csv.write_csv(delivered, raw / "deliveries.csv")
    suite = root / "expectations/hours__features.yaml"
    suite.write_text(suite.read_text().replace("min_value: 40", "min_value: 1"))
    hours = Hours(root)
    hours.tally("ingest", "hours", "--from", "2025-03-20", "--to", "2025-03-25")
    hours.tally("train", "hours", "--date", "2025-03-26")
    return hours


@pytest.fixture
def hours(trained: Hours, tmp_path: Path) -> Hours:
    copy = tmp_path / "project"
    shutil.copytree(trained.root, copy)
    readdress(copy / ".tally/mlflow.db", str(trained.root), str(copy))
    return Hours(copy)


def test_labels_settle_however_the_runs_are_cut(hours: Hours, tmp_path: Path) -> None:
    other = Hours(shutil.copytree(hours.root, tmp_path / "other"))
    hours.tally("backfill", "hours", "--from", "2025-03-29", "--to", "2025-03-31")
    cuts = ["2025-03-29T03:00Z", "2025-03-29T17:00Z", "2025-03-30T08:00Z"]
    for first, last in zip(["2025-03-29", "2025-03-29T04:00Z", "2025-03-29T18:00Z", "2025-03-30T09:00Z"],
                           [*cuts, "2025-03-31"], strict=True):  # fmt: skip
        other.tally("backfill", "hours", "--from", first, "--to", last)

    def final(found: Hours) -> dict[str, tuple[int, int, int]]:
        return {row["score_hour"]: (row["known"], row["never"], row["missing"]) for row in found.realised()}

    whole = final(hours)
    assert final(other) == whole
    settled = {hour: counts for hour, counts in whole.items() if hour < "2025-03-30"}
    assert len(settled) == 23
    assert set(settled.values()) == {(5, 1, 0)}
    before = other.versions()
    other.tally("backfill", "hours", "--from", "2025-03-29", "--to", "2025-03-31")
    after = other.versions()
    assert {name for name in before if after[name] != before[name]} <= {"hours__gates"}
    other.tally("report", "hours", "--from", "2025-03-30", "--to", "2025-03-30", "--out", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    assert "2025-03-29T23:00Z to 2025-03-30T21:00Z: 23 of 71 hours" in page
    assert "30 Mar 01:00" in page


def test_training_ends_with_a_whole_date_whose_labels_are_there(hours: Hours) -> None:
    taken = json.loads(hours.tally("run", "hours", "snapshot", "--date", "2025-03-26", "--json"))
    assert (taken["holdout_from"], taken["holdout_to"]) == ("2025-03-24", "2025-03-24")


def test_a_violation_counts_on_the_date_that_it_became_known(hours: Hours) -> None:
    sets = ["--set", "monitoring.performance_floor={log_loss: {max: 0.0001}}"]
    hours.tally("backfill", "hours", "--from", "2025-03-27", "--to", "2025-03-28", *sets)
    rows = hours.rows("select score_hour, reasons from hours__decisions where not superseded order by 1")
    told = {row["score_hour"] for row in rows if any(reason.startswith("performance") for reason in row["reasons"])}
    assert told == {"2025-03-27T20:00:00+00:00", "2025-03-28T20:00:00+00:00"}


def test_another_kind_of_periods_is_refused(hours: Hours) -> None:
    hours.tally("backfill", "hours", "--from", "2025-03-27T00:00Z", "--to", "2025-03-27T01:00Z")
    file = hours.root / "models/hours/model.yaml"
    file.write_text(
        file.read_text()
        .replace("cadence: hour", "cadence: day")
        .replace("    hours:\n    - 22\n    - 23\n", "    dates: []\n")
    )
    for command in ("days", "report"):
        assert "scored by the hour" in hours.tally(command, "hours", code=5), command
    found = run_tally(("verify", "hours"), hours.root, os.environ)
    assert (found.returncode, "scored by the hour" in found.stdout) == (15, True)


def test_a_date_means_all_its_hours(hours: Hours) -> None:
    done = json.loads(hours.tally("run", "hours", "backfill", "--date", "2025-03-27", "--to", "2025-03-27", "--json"))
    assert (done["first"], done["last"], done["days"]) == ("2025-03-26T23:00Z", "2025-03-27T22:00Z", 24)
    assert "lies in the hour 2025-03-27T00:00Z" in hours.tally("score", "hours", "--date", "2025-03-27T00:30Z", code=2)
    assert json.loads(hours.tally("explain", "hours", "--pipeline", "train", "--date", "2025-03-28", "--json"))["steps"]
