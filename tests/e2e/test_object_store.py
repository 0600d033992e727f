"""The whole life of a generated project whose lake is on an object store; its twin's is on a disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from object_store import KEY, SECRET, Bucket

from .conftest import World

pytestmark = pytest.mark.slow

DAYS = ("2025-04-01", "2025-04-02", "2025-04-03")
SCORES = (
    "select score_date, order_id, prediction, probability, confidence, model_version, role from late_orders__scores "
    "where score_date between date '2025-04-01' and date '2025-04-03' order by score_date, order_id"
)
WATCHED = (
    "select score_date, column_name, metric, variant, value, violated from late_orders__drift "
    "where score_date <= date '2025-04-03' union all "
    "select score_date, slice_value, metric, '', value, violated from late_orders__performance "
    "where score_date = date '2025-04-01' order by all"
)


@pytest.fixture
def stored(tmp_path: Path, bucket: Bucket) -> World:
    """A new project with its lake on the store; the overlay takes the credentials from the environment."""
    root = tmp_path / "stored"
    keys = (("LAKE_KEY_ID", KEY), ("LAKE_SECRET", SECRET), ("AWS_EC2_METADATA_DISABLED", "true"))
    World(tmp_path).tally("init", str(root))
    overlay = root / "conf" / "local.yaml"
    values = yaml.safe_load(overlay.read_text())
    named = {"AWS_ACCESS_KEY_ID": "${oc.env:LAKE_KEY_ID}", "AWS_SECRET_ACCESS_KEY": "${oc.env:LAKE_SECRET}"}
    values["storage"] |= {"lake": f"{bucket.address}/lake", "options": bucket.options | named}
    overlay.write_text(yaml.safe_dump(values))
    return World(root, environment=keys)


@pytest.mark.long
def test_a_life_on_an_object_store_is_the_life_on_a_disk(stored, alive, bucket) -> None:
    trained = ("--date", "2025-03-25", "--effective-from", "2025-04-01")
    told = [
        stored.tally("ingest", stored.model, "--from", "2025-01-01", "--to", "2025-04-05"),
        stored.tally("train", stored.model, *trained, "--by", "a test", *stored.few_columns),
        stored.tally("backfill", stored.model, "--from", DAYS[0], "--to", DAYS[-1]),
    ]
    scores = stored.rows(SCORES)
    assert len(scores) > 200
    assert scores == alive.rows(SCORES)
    assert stored.rows(WATCHED) == alive.rows(WATCHED)
    again = stored.tally("backfill", stored.model, "--from", DAYS[0], "--to", DAYS[-1], "--json")
    assert {day["action"] for day in again.json} == {"unchanged"}

    days = stored.tally("days", stored.model, "--json")
    twins = [day for day in alive.tally("days", alive.model, "--json").json if day["score_date"] in DAYS]
    same = ("score_date", "generation", "model_version", "rows", "mean_score", "decision")
    assert [[day[name] for name in same] for day in days.json] == [[day[name] for name in same] for day in twins]

    trace = stored.tally("trace", stored.model, scores[0]["order_id"], DAYS[0], "--json")
    assert trace.json["promotion"]["approver"] == "a test"
    assert {gate["gate"] for gate in trace.json["gates"]} == {"quality", "operations", "refit"}
    page = stored.root / "report.html"
    told += [again, days, trace, stored.tally("report", stored.model, "--out", str(page))]
    assert "<svg" in page.read_text()
    doctor = stored.tally("doctor", "--json")
    checks = {row["check"]: (row["verdict"], row["found"]) for row in doctor.json}
    assert checks["storage lake"] == ("pass", f"{bucket.address}/lake, commits by conditional put")
    assert checks["tables"][0] == "pass"
    told += [doctor, stored.tally("maintain", stored.model)]
    assert stored.rows(SCORES) == scores

    assert not (stored.root / ".tally" / "lake").exists()
    assert not [done for done in told if SECRET in done.out + done.err]
    assert not [file for file in stored.root.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()]
