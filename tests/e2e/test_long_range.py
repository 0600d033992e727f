"""A range of many days takes the memory of its first month."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.long]

DAYS = int(os.environ.get("TALLYWRIGHT_RANGE_DAYS", "240"))
FIRST = date(2025, 4, 1)
SETTLED = 30
"""Days after which the memory is measured: one group of days that share their commits."""
WEEKS = timedelta(weeks=17)
"""The sample's length; it is repeated whole, so that weekdays stay."""
GROWTH = 25.0
"""MB."""


def _repeat(path: Path, moment: str, last: date) -> None:
    """Appends the rows of the sample again, with later moments and other orders, up to a date."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    end = datetime.fromisoformat(rows[0][moment]) + WEEKS
    rows = [row for row in rows if datetime.fromisoformat(row[moment]) < end]
    rounds = (last - date(2025, 1, 1)) // WEEKS + 1
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for number in range(rounds):
            for row in rows:
                later = datetime.fromisoformat(row[moment]) + number * WEEKS
                writer.writerow(row | {moment: str(later), "order_id": f"{row['order_id']}-{number}"})


def _megabytes(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.timeout(1800)
def test_memory_is_flat_after_a_month(copy) -> None:
    world = copy()
    last = FIRST + timedelta(days=DAYS - 1)
    raw = world.root / "models" / world.model / "raw"
    _repeat(raw / "orders.csv", "ordered_at", last)
    _repeat(raw / "deliveries.csv", "delivered_at", last)
    world.edit(f"models/{world.model}/model.yaml", "end_date: 2025-04-30", f"end_date: {last}")
    command = [sys.executable, "-m", "tallywright", "backfill", world.model, "--from", str(FIRST), "--to", str(last)]
    found: list[float] = []
    told: list[str] = []
    with subprocess.Popen(command, cwd=world.root, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        for line in running.stderr:
            told.append(line)
            if "  committed " in line:
                found.append(_megabytes(running.pid))
    assert running.returncode == 0, "".join(told[-20:])
    assert len(found) == DAYS
    settled, most = found[SETTLED - 1], max(found[SETTLED:])
    assert most - settled <= max(GROWTH, 0.05 * settled), [round(one) for one in found[SETTLED - 1 :: SETTLED]]
