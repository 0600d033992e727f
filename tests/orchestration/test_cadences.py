"""Each cadence through Airflow: hours over both changes of the clocks, weeks, months, business days over a holiday."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from cadences import add_model, write_orders

from tallywright.orchestration.embedded import project as local
from tallywright.orchestration.embedded.processes import EmbeddedAirflow
from tallywright.orchestration.embedded.rest import AirflowRest
from tallywright.spec import load_project

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(2400)]

# What the model is worth is no matter here.
FAST: dict[str, Any] = {
    "training": {"network": {"hidden": [16], "epochs": 15}, "baselines": False},
    "gates": {"floors": {}, "max_calibration_error": 1.0, "min_holdout_rows": 50},
}
# An hourly model has four days to learn from: its refit would be too far from what was judged.
HOURLY = {
    "schedule": {"timezone": "Europe/Berlin", "start_date": date(2025, 3, 20), "end_date": date(2025, 10, 31)},
    "data": {"lookback_days": 8, "label_maturity_days": None, "label_maturity_periods": 3, "min_rows_share": 0.2},
    "training": FAST["training"] | {"refit": False, "window_days": 4, "validation_days": 1, "holdout_days": 2},
    "gates": FAST["gates"],
}
WEEKLY = FAST | {"schedule": {"after": "work_days__features"}, "data": {"label_maturity_days": 1}}
WEATHER = "weather://station/daily"
MONTHLY = {
    "schedule": {"after": WEATHER},
    "gates": FAST["gates"],
    "training": FAST["training"] | {
        "window_days": None, "validation_days": None, "holdout_days": None,
        "window_periods": 2, "validation_periods": 1, "holdout_periods": 1,
    },
}  # fmt: skip
BUSINESS = FAST | {"schedule": {"closed": {"dates": [date(2025, 4, 18), date(2025, 4, 21)]}}}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, tally: Callable[..., str]) -> Path:
    root = tmp_path_factory.mktemp("cadences") / "project"
    hours = add_model(root, "hours", "hour", HOURLY)
    write_orders(
        hours / "raw", [(date(2025, 3, 19), date(2025, 3, 31)), (date(2025, 10, 25), date(2025, 10, 27))], an_hour=6
    )
    add_model(root, "weeks", "week", WEEKLY)
    add_model(root, "months", "month", MONTHLY)
    add_model(root, "work_days", "business-day", BUSINESS)
    for suite in (root / "expectations").glob("*.yaml"):
        text = suite.read_text().replace("min_value: 40", "min_value: 3").replace("max_value: 300", "max_value: 30000")
        suite.write_text(text)
    tally(root, "ingest", "hours", "--from", "2025-03-20", "--to", "2025-03-26")
    tally(root, "ingest", "weeks", "--from", "2025-01-06", "--to", "2025-03-24")
    tally(root, "ingest", "months", "--from", "2025-01", "--to", "2025-03")
    tally(root, "ingest", "work_days", "--from", "2025-01-01", "--to", "2025-04-25")
    return root


def ended(rest: AirflowRest, dag: str, params: dict[str, Any]) -> tuple[str, dict[str, str]]:
    run, deadline = rest.trigger(dag, params), time.monotonic() + 900
    while rest.run_state(dag, run) not in ("success", "failed") and time.monotonic() < deadline:
        time.sleep(1)
    return rest.run_state(dag, run), rest.task_states(dag, run)


def scored(root: Path, model: str, tally: Callable[..., str]) -> list[str]:
    rows = json.loads(tally(root, "days", model, "--json"))
    assert {row["state"] for row in rows} <= {"scored", "closed"}
    return [row["score_date"] for row in rows if row["state"] == "scored"]


def test_the_life_of_each_cadence_through_airflow(
    root: Path,
    tally: Callable[..., str],
    served: Callable[[Path], AbstractContextManager[EmbeddedAirflow]],
    backfilled: Callable[..., list[dict[str, Any]]],
) -> None:
    calendar = load_project("hours", root=root).spec.schedule.calendar
    with served(root) as airflow:
        rest = local.client(airflow)
        for model, as_of, first in [
            ("hours", "2025-03-27", "2025-03-27"), ("weeks", "2025-04-01", "2025-04-01"),
            ("months", "2025-04-03", "2025-04-01"), ("work_days", "2025-04-02", "2025-04-02"),
        ]:  # fmt: skip
            state, tasks = ended(rest, f"{model}__train", {"date": as_of, "effective_from": first})
            assert state == "success", (model, tasks)

        def run(model: str, first: date, last: date) -> list[str]:
            runs = backfilled(airflow, rest, model, first, last)
            assert {run["state"] for run in runs} == {"success"}
            return scored(root, model, tally)

        assert run("weeks", date(2025, 4, 7), date(2025, 4, 21)) == ["2025-04-07", "2025-04-14", "2025-04-21"]
        state, tasks = ended(rest, "months__score", {"date": "2025-04-01"})
        assert (state, tasks["await_input"], tasks["ingest"]) == ("failed", "failed", "upstream_failed")
        (asset,) = rest.call("GET", "/assets", uri_pattern=WEATHER)["assets"]
        rest.call("POST", "/assets/events", {"asset_id": asset["id"], "extra": {}})
        assert run("months", date(2025, 4, 1), date(2025, 4, 1)) == ["2025-04-01"]
        assert run("work_days", date(2025, 4, 16), date(2025, 4, 22)) == ["2025-04-16", "2025-04-17", "2025-04-22"]
        spring = [f"2025-03-{hour}Z" for hour in ("30T00:00", "30T01:00", "30T02:00")]
        assert run("hours", calendar.parse(spring[0]), calendar.parse(spring[-1])) == spring
        autumn = [f"2025-10-26T{hour:02}:00Z" for hour in range(3)]
        assert run("hours", calendar.parse(autumn[0]), calendar.parse(autumn[-1])) == [*spring, *autumn]

        for day, hours in (("2025-03-30", 23), ("2025-10-26", 25)):
            first, last = calendar.first_on(date.fromisoformat(day)), calendar.last_on(date.fromisoformat(day))
            state, tasks = ended(rest, "hours__backfill", {"date": str(first), "to": str(last)})
            assert state == "success", tasks
            whole = [str(hour) for hour in calendar.between(first, last)]
            assert len(whole) == hours
            assert [hour for hour in scored(root, "hours", tally) if hour in whole] == whole
        state, _ = ended(rest, "hours__score", {"date": "2025-03-30T02:30Z"})
        assert state == "failed"

    sql = "select count(*) n, count(distinct order_id) k, count(distinct score_hour) h from hours__scores "
    doubled = tally(root, "query", sql + "where score_date = '2025-10-26'", "--json")
    assert json.loads(doubled) == [{"n": 150, "k": 150, "h": 25}]
    for model in ("hours", "weeks", "months", "work_days"):
        assert "stands" in tally(root, "verify", model, "--deep")
