"""The sample project of `tally init`, scored by the hour, the week, the month or the business day."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import yaml
from click.testing import CliRunner
from pyarrow import csv

from tallywright.cli.init import init

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "shop"
_PERIODS = {
    "hour": ("score_hour", "date_trunc('hour', ordered_at)"),
    "week": ("score_date", "CAST(date_trunc('week', ordered_at) AS DATE)"),
    "month": ("score_date", "CAST(date_trunc('month', ordered_at) AS DATE)"),
}
"""The column that names the period of a row, and its SQL."""


def cadence_project(folder: Path, cadence: str, sections: dict[str, dict[str, Any]]) -> Path:
    """Writes the sample project with another cadence; `sections` change `model.yaml`, a key that is None goes."""
    done = CliRunner().invoke(init, [str(folder), "--model", MODEL], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    model = folder / "models" / MODEL
    spec = yaml.safe_load((model / "model.yaml").read_text())
    del spec["schedule"]["cron"], spec["schedule"]["deadline"]
    spec["schedule"]["cadence"] = cadence
    for name, keys in sections.items():
        spec[name] = {key: value for key, value in (spec.get(name, {}) | keys).items() if value is not None}
    (model / "model.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    if cadence in _PERIODS:
        _rewrite(model / "sql", cadence)
    return folder


def _rewrite(sql: Path, cadence: str) -> None:
    column, expression = _PERIODS[cadence]
    for file in sorted(sql.glob("*.sql")):
        text = file.read_text()
        text = text.replace("CAST(ordered_at AS DATE)", expression)
        if cadence == "hour":
            text = re.sub(r":(\w+)_date", r":\1_hour", text).replace("score_date", column)
        file.write_text(text)


def write_orders(folder: Path, ranges: list[tuple[date, date]], *, an_hour: int) -> None:
    """Writes orders and deliveries, so many in each hour (UTC) of the ranges of dates, both ends included."""
    starts = [
        datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=number, hours=hour)
        for day, last in ranges
        for number in range((last - day).days + 1)
        for hour in range(24)
    ]
    random = np.random.default_rng(7)
    rows = len(starts) * an_hour
    seconds = np.repeat([int(start.timestamp()) for start in starts], an_hour) + random.integers(0, 3600, rows)
    region, carrier = random.integers(0, 5, rows), random.integers(0, 3, rows)
    weight, distance = random.lognormal(0.5, 0.8, rows).round(2), random.gamma(2.0, 180.0, rows).round(1)
    logit = -2.5 + 0.003 * distance + 0.3 * weight + np.array([0, 1.2, -0.8])[carrier]
    late = random.random(rows) < 1 / (1 + np.exp(-logit))
    ids = pa.array([f"o{number:07d}" for number in range(rows)])
    orders = {
        "order_id": ids,
        "ordered_at": _instants(seconds),
        "region": pa.array(np.array(["north", "south", "east", "west", "islands"])[region]),
        "carrier": pa.array(np.array(["swift", "steady", "local"])[carrier]),
        "weight_kg": pa.array(weight),
        "distance_km": pa.array(distance),
    }
    delivered = seconds + 60 * random.integers(30, 90, rows)
    deliveries = {"order_id": ids, "delivered_at": _instants(delivered), "late": pa.array(late.astype(np.int8))}
    csv.write_csv(pa.table(orders), folder / "orders.csv")
    csv.write_csv(pa.table(deliveries), folder / "deliveries.csv")


def _instants(seconds: np.ndarray) -> pa.Array:
    return pa.array(seconds.astype("datetime64[s]"), pa.timestamp("s"))
