"""A range that dies between two of its days: whole tallies stand, and the same range again writes what it lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

FAILPOINTS = ["committed", "before-commit", "profiled"]
RANGE = ("--from", "2025-04-08", "--to", "2025-04-10")
TABLES = {
    "scores": "*",
    "profile": "*",
    "drift": "*",
    "performance": "*",
    "tallies": "score_date, generation, reason, rows, inputs_digest, key_digest, profile_digest",
    "decisions": "score_date, state, reasons, decision_id, superseded",
    "gates": "gate, subject, check_name, verdict, observed_number, observed_text, bound",
}


def content(world) -> dict[str, list]:
    """What the tables hold, whenever and by whomever it was written; of gates, once: a day may be judged again."""
    where = {"tallies": "", "gates": " where gate = 'day'"}
    return {
        table: world.rows(f"select distinct {columns} from late_orders__{table}{where.get(table, '')} order by all")
        for table, columns in TABLES.items()
    }


@pytest.mark.long
@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_a_killed_range_is_finished_by_the_same_range_again(copy, tmp_path, failpoint) -> None:
    calm, killed = copy("calm"), copy("killed")
    calm.tally("backfill", calm.model, *RANGE)
    once = tmp_path / "once"
    command = [sys.executable, "-m", "tallywright", "backfill", killed.model, *RANGE]
    environment = os.environ | {"TALLYWRIGHT_KILL_AT": failpoint, "TALLYWRIGHT_KILL_ONCE": str(once)}
    done = subprocess.run(
        command, cwd=killed.root, env=environment, capture_output=True, text=True, check=False, timeout=560
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    whole = {day["score_date"]: day["rows"] for day in calm.tally("days", calm.model, "--json").json}
    found = {
        str(row["score_date"]): row["n"]
        for row in killed.rows("select score_date, count(*) n from late_orders__scores group by all")
    }
    assert found.items() <= whole.items()
    killed.tally("backfill", killed.model, *RANGE)
    assert content(killed) == content(calm)
