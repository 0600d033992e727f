"""Maintenance of a whole project by the command line: nothing that anybody can read becomes another."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest

from tallywright.data.delta.lake import Lake
from tallywright.data.snapshot import SPLITS, Snapshot, read_split
from tallywright.lifecycle.context import package_of
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.resolve import as_ref
from tallywright.spec import Project, load_project

pytestmark = pytest.mark.slow

WEEK = [f"2025-04-0{day}" for day in range(1, 8)]
QUERIES = (
    "select * from late_orders__scores order by score_date, order_id",
    "select * from late_orders__features order by score_date, order_id",
    "select * from late_orders__tallies order by score_date, generation",
    "select * from late_orders__drift order by all",
    "select * from late_orders__decisions order by all",
)


def _age(root: Path) -> None:
    """As if everything had happened 100 days ago."""
    moment = time.time() - 100 * 86400
    for log in (root / ".tally/lake").glob("*/_delta_log/*.json"):
        log.write_text(re.sub(r'"deletionTimestamp":\d+', f'"deletionTimestamp":{int(moment * 1000)}', log.read_text()))
    for file in (root / ".tally/lake").rglob("*"):
        os.utime(file, (moment, moment))


def _training_data(project: Project) -> list:
    """What the champion learnt from, read again."""
    lake = Lake.of(project.environment)
    champion = PromotionLog(lake, project.spec).current()
    package = package_of(project, as_ref(champion, project.spec))
    snapshot = Snapshot.from_json(package.meta.snapshot_json)
    return [read_split(project, lake, snapshot, split) for split in SPLITS]


@pytest.mark.long
def test_a_life_goes_on_as_if_nobody_had_tidied_up(copy) -> None:
    world = copy()
    # A renamed order restates its day and, as its delivery is no longer found, the rates of the seven days after it:
    # each generation 1 then refers to an input that is no longer part of the table.
    world.edit("models/late_orders/raw/orders.csv", "o008150", "o998150")
    (key,) = world.rows("select score_date::varchar d from late_orders__features where order_id = 'o008150'")
    restated = world.tally("backfill", world.model, "--from", WEEK[0], "--to", WEEK[-1], "--json").json
    assert {day["action"] for day in restated} == {"committed"}
    _age(world.root)
    world.tally("verify", world.model, "--accept")  # an edited log is found; here the edit is ours
    project = load_project(world.model, root=world.root)
    before, learnt = [world.rows(query) for query in QUERIES], _training_data(project)

    often = ("--set", "maintenance.min_files=2")  # writes keep small tables below the default
    dry = world.tally("maintain", world.model, "--dry-run", "--json", *often).json
    done = world.tally("run", world.model, "maintain", "--date", WEEK[0], "--json", *often).json
    counted = [{table["table"]: table["compacted"] for table in one["tables"]} for one in (dry, done)]
    assert counted[0] == counted[1]
    tables = {table["table"].removeprefix("late_orders__"): table for table in done["tables"]}
    assert tables["inputs"]["compacted"] >= 2  # a commit a day; the tallies of a range share one
    assert sum(table["deleted"] for table in tables.values()) > 0  # what was replaced and has aged
    assert set(tables["features"]["kept"]) == {"input", "tally", "model"}
    assert set(tables["labels"]["kept"]) == {"model"}
    assert {table["lost"] for table in tables.values()} == {""}
    assert len(json.dumps(done)) < 32_768

    assert [world.rows(query) for query in QUERIES] == before
    assert all(one.equals(other) for one, other in zip(_training_data(project), learnt, strict=True))
    (first,) = world.rows(
        f"select manifest_json m from late_orders__tallies where generation = 1 and score_date = date '{key['d']}'"
    )
    pinned = json.loads(first["m"])["input"]
    lake = Lake.of(project.environment)
    assert lake.read(pinned["table"], where={"order_id": "o008150"}, version=pinned["version"]).num_rows == 1

    repeated = world.tally("backfill", world.model, "--from", WEEK[0], "--to", WEEK[-1], "--json").json
    assert {day["action"] for day in repeated} == {"unchanged"}
    forced = world.tally("backfill", world.model, "--from", WEEK[0], "--to", WEEK[-1], "--force", "--json").json
    assert {day["action"] for day in forced} == {"committed"}
    assert world.rows(QUERIES[0]) == before[0]
    ingested = world.tally("ingest", world.model, "--from", WEEK[0], "--to", WEEK[-1], "--json").json
    assert not any(day["changed"] for day in ingested)


def test_a_retention_shorter_than_a_run_is_refused_before_anything_is_done(copy) -> None:
    world = copy()
    short = ("--set", "registry.approval=person", "--set", "maintenance.orphan_days=1")
    assert "at least 4 days" in world.tally("validate", *short, code=3).err
    assert "at least 4 days" in world.tally("maintain", world.model, *short, code=3).err


def test_without_the_registry_nothing_is_deleted(copy) -> None:
    world = copy()
    _age(world.root)
    files = sorted((world.root / ".tally/lake").rglob("*.parquet"))
    gone = ("--set", "environment.tracking.uri=http://127.0.0.1:9")
    world.tally("maintain", world.model, *gone, code=12, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    left = set((world.root / ".tally/lake").rglob("*.parquet"))
    assert left >= set(files)
    assert {path.parent.name for path in left - set(files)} == {"late_orders__verified"}  # checks come first


def test_only_maintenance_has_a_dry_run(copy) -> None:
    world = copy()
    before = world.rows(QUERIES[2])
    done = world.tally("run", world.model, "score", "--date", WEEK[0], "--force", "--dry-run", code=2)
    assert "no dry run" in done.err
    assert world.rows(QUERIES[2]) == before
