"""Late labels, closed, refused and missed days through the command line, on the project that `tally init` writes."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from deltalake import DeltaTable

pytestmark = pytest.mark.slow

SPEC = "models/late_orders/model.yaml"
ORDERS = "models/late_orders/raw/orders.csv"
DELIVERIES = "models/late_orders/raw/deliveries.csv"


def _keep(world, path: str, keep) -> None:
    file = world.root / path
    head, *lines = file.read_text().splitlines(keepends=True)
    file.write_text(head + "".join(line for line in lines if keep(line)))


def _labels(world, day: str) -> dict[str, int]:
    rows = world.rows(
        f"select label_status s, count(*) n from late_orders__labels where score_date = '{day}' group by 1"
    )
    return {row["s"]: row["n"] for row in rows}


def _realised(world) -> dict[str, tuple[float, int, int, int]]:
    rows = world.rows(
        "select score_date::varchar d, value, known, never, missing from late_orders__performance "
        "where slice_key is null and metric = 'roc_auc' and label_age_days = 2"
    )
    return {row["d"]: (row["value"], row["known"], row["never"], row["missing"]) for row in rows}


def test_labels_that_arrive_after_the_days_ingest_arrive(copy) -> None:
    """The files are as at 04:00 on the day after each run; the twin had all labels from the start."""
    world, twin = copy("daily"), copy("twin")
    full = (world.root / DELIVERIES).read_text()
    days = [date(2025, 4, 11) + timedelta(days=number) for number in range(3)]
    twin.tally("backfill", twin.model, "--from", str(days[0]), "--to", str(days[-1]))
    for day in days:
        now = datetime(day.year, day.month, day.day, 4) + timedelta(days=1)  # noqa: DTZ001 - as in the files
        (world.root / DELIVERIES).write_text(full)
        _keep(world, DELIVERIES, lambda line, now=now: datetime.fromisoformat(line.split(",")[1].strip('"')) < now)
        done = world.tally("score", world.model, "--date", str(day))
        if day == days[0]:
            early = _labels(world, str(day))
    assert early["missing"] > 20
    assert "never" not in early
    assert _labels(world, "2025-04-11") == _labels(twin, "2025-04-11")
    assert _realised(world)["2025-04-11"] == _realised(twin)["2025-04-11"]
    assert "labels of 2025-04-12 changed" in done.err
    before = world.rows("select count(*) n from late_orders__label_readings")
    again = world.tally("score", world.model, "--date", str(days[-1]))
    assert "changed:" not in again.err
    assert world.rows("select count(*) n from late_orders__label_readings") == before


def test_a_range_over_refused_empty_and_closed_days_loses_none(copy) -> None:
    """04-09 has no orders, 04-12 only ten, and the Sunday 04-13 is closed; labels mature after two days."""
    world = copy()
    seen: list[str] = []
    _keep(world, ORDERS, lambda line: "2025-04-09 " not in line)
    _keep(world, ORDERS, lambda line: "2025-04-12 " not in line or (len(seen) < 10 and not seen.append(line)))
    _keep(world, ORDERS, lambda line: "2025-04-13 " not in line)
    world.edit(SPEC, '  deadline: "06:00"', '  deadline: "06:00"\n  closed: {weekdays: [sunday]}')
    done = world.tally("backfill", world.model, "--from", "2025-04-08", "--to", "2025-04-14", "--json", code=4)
    actions = {day["score_date"][-2:]: day["action"] for day in done.json}
    assert actions == {"08": "committed", "09": "refused", "10": "committed", "11": "committed", "12": "refused",
                       "13": "closed", "14": "committed"}  # fmt: skip
    assert {day[-2:] for day in _realised(world)} >= {"06", "07", "08", "10", "11"}
    shown = {row["score_date"][-2:]: row for row in world.tally("days", world.model, "--json").json}
    assert (shown["12"]["state"], shown["12"]["reason"], shown["12"]["exit_code"]) == ("refused", "gate_refused", 8)
    assert "row_count" in shown["12"]["failed_checks"][0]
    assert (shown["09"]["state"], shown["09"]["exit_code"]) == ("refused", 4)
    assert shown["13"]["state"] == "closed"
    assert [shown[day]["decision"] for day in ("09", "12", "13")] == ["broken_day", "broken_day", "closed_day"]
    assert next(day["state"] for day in done.json if day["action"] == "closed") == "closed_day"
    told = world.rows("select score_date::varchar d, reasons from late_orders__decisions where not superseded")
    reasons = {row["d"][-2:]: " ".join(row["reasons"]) for row in told}
    assert reasons["12"].startswith("broken_day: refused with gate_refused")
    assert reasons["13"].startswith("closed_day: sunday in schedule.closed")
    watched = world.tally("run", world.model, "watch", "--date", "2025-04-14", code=4)
    assert "2025-04-12 (refused: gate_refused)" in watched.err
    assert "2025-04-13" not in watched.err


def test_a_date_that_cannot_be_realised_is_a_warning_and_an_exit_code_and_no_refusal(copy) -> None:
    """The labels of 04-05 are no labels of the model: 04-08 is scored, and 04-06 realised, all the same."""
    world = copy()
    lake = world.root / ".tally/lake"
    DeltaTable(lake / "late_orders__labels").update(predicate="score_date = '2025-04-05'", updates={"late": "late + 2"})
    DeltaTable(lake / "late_orders__performance").delete("score_date = '2025-04-05'")
    done = world.tally("score", world.model, "--date", "2025-04-08", "--json", code=4)
    (day,) = done.json
    assert (day["action"], day["exit_code"], day["state"]) == ("committed", 0, "ok")
    (left,) = day["unrealised"]
    assert (left["score_date"], left["reason"], left["exit_code"]) == ("2025-04-05", "input", 4)
    assert "no class of the model: 2, 3" in left["detail"]
    assert "2025-04-05 was not realised: late_orders__labels" in done.err
    assert "refused" not in done.err
    assert "04-06" in {day[-5:] for day in _realised(world)}
    shown = {row["score_date"]: row for row in world.tally("days", world.model, "--json").json}
    assert {shown[day]["state"] for day in ("2025-04-05", "2025-04-08")} == {"scored"}
    periods = world.rows("select state from late_orders__periods where score_date >= '2025-04-05'")
    assert {row["state"] for row in periods} == {"scored"}


@pytest.mark.long
def test_a_calendar_lets_training_have_its_window(copy) -> None:
    world = copy()
    sundays = {str(date(2025, 1, 5) + timedelta(weeks=number)) for number in range(17)}
    _keep(world, ORDERS, lambda line: not any(f"{day} " in line for day in sundays))
    world.edit(SPEC, '  deadline: "06:00"', '  deadline: "06:00"\n  closed: {file: holidays.csv}')
    (world.root / "models/late_orders/holidays.csv").write_text("date\n" + "\n".join(sorted(sundays)) + "\n")
    world.tally("validate", world.model)
    lake = ("--set", f"environment.storage.lake={world.root}/.tally/other")
    done = world.tally("ingest", world.model, "--from", "2025-01-01", "--to", "2025-04-01", *lake)
    assert "78 days" in done.out
    assert "13 closed days left out" in done.out
    taken = world.tally("run", world.model, "snapshot", "--date", "2025-04-01", "--json", *lake).json
    assert (taken["train_from"], taken["holdout_to"]) == ("2025-01-16", "2025-03-30")


def test_a_deadline_before_the_cron_is_not_valid(alive) -> None:
    done = alive.tally("validate", alive.model, "--set", "schedule.deadline=02:00", code=3)
    for text in ("schedule.deadline", "schedule.cron", "04:00", "04:01"):
        assert text in done.err
