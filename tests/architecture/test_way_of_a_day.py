"""The way of one scored day gets no longer unless it does more: modules, edges, climbs, handles and hashes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("way_of_a_day.py")

# What `way_of_a_day.py` counts today (131, 459, 12, 7), and what a run may add in which small tables are compacted.
# They go down; up only where a day does more, with a line in the changelog.
MOST = {
    "modules": 131,
    "edges": 460,
    "climbs": 0,
    "climbing_calls": 0,
    "handles": 12,
    "handles_before": 8,
    "existence_checks": 0,
    "existence_checks_before": 0,
    "packages_hashed": 1,
    "packages_hashed_before": 0,
}


@pytest.mark.slow
def test_the_way_of_a_day_gets_no_longer() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() == MOST.keys()
    assert found["handles"], "nothing was scored while it was watched"
    assert found["packages_hashed"], "no package was verified, or another function does it now"
    assert {name: number for name, number in found.items() if number > MOST[name]} == {}
