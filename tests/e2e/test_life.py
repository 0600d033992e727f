"""The whole life of a generated project through the command line, with every real part but Airflow."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest
from deltalake import DeltaTable

pytestmark = pytest.mark.slow

WEEK = [f"2025-04-0{day}" for day in range(1, 8)]


def _versions(world) -> dict[str, int]:
    return {
        path.name: len(list((path / "_delta_log").glob("*.json"))) for path in (world.root / ".tally/lake").iterdir()
    }


def test_a_week_is_seven_tallies_with_provenance(alive) -> None:
    days = alive.tally("days", alive.model, "--json").json
    assert [day["score_date"] for day in days] == WEEK
    assert {day["generation"] for day in days} == {1}
    assert {day["model_version"] for day in days} == {1}
    assert all(day["rows"] > 0 for day in days)
    assert all(day["realised_auc"] is not None for day in days[:5])
    assert all(day["decision"] for day in days)


def test_rows_in_are_rows_out_with_the_same_keys(alive) -> None:
    (found,) = alive.rows(
        "select count(*) n, count(distinct s.order_id) k, sum(case when f.order_id is null then 1 else 0 end) lost "
        "from late_orders__scores s left join late_orders__features f using (score_date, order_id)"
    )
    (wanted,) = alive.rows(
        "select count(*) n from late_orders__features where score_date between date '2025-04-01' and date '2025-04-07'"
    )
    assert found == {"n": wanted["n"], "k": wanted["n"], "lost": 0}


def test_a_repeat_changes_no_table_that_matters(copy) -> None:
    world = copy()
    before = _versions(world)
    done = world.tally("backfill", world.model, "--from", WEEK[0], "--to", WEEK[-1], "--json").json
    assert {day["action"] for day in done} == {"unchanged"}
    after = _versions(world)
    for table in ("features", "labels", "scores", "tallies", "profile", "decisions", "promotions"):
        assert after[f"late_orders__{table}"] == before[f"late_orders__{table}"], table


def test_ingesting_another_day_and_optimize_change_no_tally(copy) -> None:
    world = copy()
    lake = world.root / ".tally/lake"
    world.tally("ingest", world.model, "--from", "2025-04-11", "--to", "2025-04-12")
    DeltaTable(lake / "late_orders__features").optimize.z_order(["order_id"])
    before = _versions(world)["late_orders__scores"]
    done = world.tally("backfill", world.model, "--from", WEEK[0], "--to", WEEK[-1], "--json").json
    assert {day["action"] for day in done} == {"unchanged"}
    assert _versions(world)["late_orders__scores"] == before


def test_a_dry_run_says_which_model_scores_which_day_and_why(alive) -> None:
    rows = alive.tally(
        "backfill", alive.model, "--from", "2025-03-31", "--to", "2025-04-08", "--dry-run", "--json"
    ).json
    assert [row["action"] for row in rows] == ["refuse", *["no-op"] * 7, "score"]
    assert "no champion on 2025-03-31" in rows[0]["why"]
    assert "version 1" in rows[1]["model"]
    assert (
        rows == alive.tally("explain", alive.model, "--from", "2025-03-31", "--to", "2025-04-08", "--json").json["days"]
    )


def test_a_restated_day_is_generation_two(copy) -> None:
    world = copy()
    world.edit("models/late_orders/raw/orders.csv", "o008150", "o998150")
    (key,) = world.rows("select score_date::varchar d from late_orders__features where order_id = 'o008150'")
    done = world.tally("score", world.model, "--date", key["d"], "--json").json
    assert [day["action"] for day in done] == ["committed"]
    (manifest,) = world.rows(
        "select generation, reason from late_orders__tallies "
        f"where score_date = date '{key['d']}' order by generation desc limit 1"
    )
    assert manifest == {"generation": 2, "reason": "restated_input"}
    assert world.rows("select * from late_orders__scores where order_id = 'o008150'") == []
    assert len(world.rows("select * from late_orders__scores where order_id = 'o998150'")) == 1


def test_a_score_is_traced_to_its_training_run(alive) -> None:
    (row,) = alive.rows("select order_id from late_orders__scores where score_date = date '2025-04-03' limit 1")
    told = alive.tally("trace", alive.model, row["order_id"], "2025-04-03", "--json").json
    assert told["score"]["order_id"] == row["order_id"]
    assert told["tally"]["generation"] == 1
    assert told["input"]["fingerprint"]
    assert len(told["model"]["digest"]) == 64
    assert told["training"]["run id"]
    assert told["training"]["code"]
    assert told["training"]["data"]["features"]["version"] >= 0
    assert {gate["gate"] for gate in told["gates"]} == {"quality", "operations", "refit"}
    assert told["promotion"]["approver"] == "a test"
    assert told["day gate"]


def test_as_of_each_day_gets_the_champion_of_its_time(copy) -> None:
    world = copy()
    world.tally("train", world.model, "--date", "2025-04-05", "--by", "another test")
    assert [line["effective_from"] for line in world.tally("history", world.model, "--json").json] == [
        "2025-04-01",
        "2025-04-05",
    ]
    dry = _dry(world)
    assert [int(row["model"].split()[2]) for row in dry] == [1] * 4 + [2] * 3
    assert [row["action"] for row in dry] == ["no-op"] * 4 + ["score"] * 3
    assert {row["why"] for row in dry[4:]} == {"model"}
    assert _promoted_by(world, WEEK[-1]) == (1, "a test")
    world.tally("backfill", world.model, "--from", WEEK[0], "--to", WEEK[-1])
    found = world.rows(
        "select score_date, min(model_version) v, max(model_version) w from late_orders__scores group by 1 order by 1"
    )
    assert [(row["v"], row["w"]) for row in found] == [(1, 1)] * 4 + [(2, 2)] * 3

    back = ("--effective-from", "2025-04-06", "--by", "a person", "--reason", "complaints")
    world.tally("rollback", world.model, *back)
    assert [int(row["model"].split()[2]) for row in _dry(world)] == [1] * 4 + [2] + [1] * 2
    assert _promoted_by(world, WEEK[-1]) == (2, "another test")


@pytest.mark.long
def test_history_traces_and_the_backfill_agree_after_a_promotion_and_a_rollback(copy) -> None:
    """Three days are scored again by the champion that each has as the log stands; what was scored before is kept."""
    world = copy()
    days = WEEK[-3:]
    key = {day: _key_of(world, day) for day in days}
    first = {day: _traced(world, key[day], day) for day in days}

    def rescored(versions: list[int], generation: int) -> None:
        dry = _dry(world)[-3:]
        assert [int(row["model"].split()[2]) for row in dry] == versions
        done = world.tally("backfill", world.model, "--from", days[0], "--to", days[-1], "--json").json
        for day, row, planned, version in zip(days, done, dry, versions, strict=True):
            (champion,) = world.tally("history", world.model, "--on", day, "--json").json
            traced = _traced(world, key[day], day)
            assert champion["model_version"] == traced["model"]["version"] == version
            assert traced["promotion"]["sequence"] == champion["sequence"]
            changed = planned["action"] == "score"
            assert row["action"] == ("committed" if changed else "unchanged")
            assert traced["tally"]["generation"] == (generation if changed else generation - 1)
        again = world.tally("backfill", world.model, "--from", days[0], "--to", days[-1], "--json").json
        assert {row["action"] for row in again} == {"unchanged"}

    world.tally("train", world.model, "--date", days[0], "--by", "another test")
    rescored([2, 2, 2], 2)
    second = {day: _traced(world, key[day], day) for day in days}
    assert all(second[day]["score"] != first[day]["score"] for day in days)
    world.tally("rollback", world.model, "--effective-from", days[1], "--by", "a person", "--reason", "complaints")
    rescored([2, 1, 1], 3)

    history = world.tally("history", world.model, "--json").json
    assert [(line["action"], line["model_version"], line["effective_from"]) for line in history] == [
        ("promote", 1, WEEK[0]), ("promote", 2, days[0]), ("rollback", 1, days[1]),
    ]  # fmt: skip
    third = {day: _traced(world, key[day], day) for day in days}
    assert third[days[0]] == second[days[0]]
    for day in days[1:]:
        # The same package gives the same row its score of before, by another line of the log.
        assert third[day]["model"]["digest"] == first[day]["model"]["digest"]
        assert third[day]["score"]["probability"] == first[day]["score"]["probability"]
        assert third[day]["promotion"]["action"] == "rollback"
    assert world.tally("verify", world.model, "--json").json == []


def _key_of(world, day: str) -> str:
    found = f"select order_id from late_orders__scores where score_date = date '{day}' order by 1 limit 1"
    return str(world.rows(found)[0]["order_id"])


def _traced(world, key: str, day: str):
    return world.tally("trace", world.model, key, day, "--json").json


def _promoted_by(world, day: str) -> tuple[int, str]:
    """Which version the trace of a score of that day names as promoted, and by whom."""
    (row,) = world.rows(f"select order_id from late_orders__scores where score_date = date '{day}' limit 1")
    promotion = world.tally("trace", world.model, row["order_id"], day, "--json").json["promotion"]
    return promotion["model_version"], promotion["approver"]


def test_a_candidate_that_is_not_better_is_not_promoted(copy) -> None:
    world = copy()
    before = world.tally("history", world.model, "--json").json
    done = world.tally("train", world.model, "--date", "2025-04-05", *world.few_columns, code=8)
    assert "superiority" in done.err
    assert world.tally("history", world.model, "--json").json == before


def _dry(world):
    return world.tally("backfill", world.model, "--from", WEEK[0], "--to", WEEK[-1], "--dry-run", "--json").json


def test_history_and_registry_agree(alive) -> None:
    (line,) = alive.tally("history", alive.model, "--json").json
    assert line["effective_from"] == "2025-04-01"
    assert date.fromisoformat(line["trained_through"]) < date(2025, 4, 1)
    # The auditor's question is one command: who, by whom, trained on what, by which gates, and which scores.
    (on,) = alive.tally("history", alive.model, "--on", "2025-04-03", "--json").json
    behind = on.pop("behind")
    assert on == line
    snapshot = json.loads(
        alive.rows(f"select snapshot_json from {alive.model}__versions where model_version = 1")[0]["snapshot_json"]
    )
    assert behind["trained_on"]["train"] == f"{snapshot['train_from']} to {snapshot['train_to']}"
    assert behind["trained_on"]["features_version"] == snapshot["features"]["version"]
    assert set(behind["gates"]) - {"not_passed"} == {"quality", "operations", "refit"}
    (scored,) = alive.rows(f"select count(*) as n, count(distinct score_date) as d from {alive.model}__scores")
    scores = behind["scores"]
    assert (scores["standing_rows"], scores["standing_days"]) == (scored["n"], scored["d"])
    assert (scores["from"], scores["to"]) == ("2025-04-01", "2025-04-07")
    assert "behind line 1" in alive.tally("history", alive.model, "--on", "2025-04-03").out
    assert alive.tally("history", alive.model, "--on", "2025-03-01").out.strip().endswith("no champion on 2025-03-01")


def test_the_report_is_one_page_without_outside_requests(alive, tmp_path) -> None:
    page = tmp_path / "report.html"
    alive.tally("report", alive.model, "--out", str(page))
    text = page.read_text()
    assert "<svg" in text
    assert "late_orders" in text
    assert 'src="http' not in text
    assert 'href="http' not in text


def test_doctor_and_validate_are_content(copy) -> None:
    world = copy()  # the doctor tries to write
    world.tally("validate")
    rows = {row["check"]: row["verdict"] for row in world.tally("doctor", "--json").json}
    assert rows["tracking"] == "pass"
    assert rows["tables"] == "pass"


def test_the_backfill_step_does_a_range_and_ends_in_red_when_a_day_is_refused(copy) -> None:
    world = copy()
    step = ("run", world.model, "backfill", "--date", WEEK[0], "--json")
    done = world.tally(*step, "--to", WEEK[-1]).json
    assert (done["days"], done["actions"]) == (7, {"unchanged": 7})
    world.tally(*step, code=2)
    refused = world.tally(*step[:-1], "--date", "2025-03-31", "--to", WEEK[0], code=7)
    assert "1 of 2 days were refused: 2025-03-31" in refused.err
    assert "run the same range again" in refused.err


def test_two_people_who_score_one_day_at_once_make_one_tally(copy) -> None:
    world = copy()
    command = ("score", world.model, "--date", "2025-04-08", "--json")
    with ThreadPoolExecutor(2) as people:
        done = list(people.map(lambda _: world.tally(*command), range(2)))
    assert sorted(result.json[0]["action"] for result in done) == ["committed", "unchanged"]
    (made,) = world.rows("select generation, rows from late_orders__tallies where score_date = date '2025-04-08'")
    (scored,) = world.rows("select count(*) n from late_orders__scores where score_date = date '2025-04-08'")
    assert made == {"generation": 1, "rows": scored["n"]}
    (decided,) = world.rows("select count(*) n from late_orders__decisions where score_date = date '2025-04-08'")
    assert decided == {"n": 1}


def test_one_refused_day_does_not_stop_the_others(copy) -> None:
    world = copy()
    file = world.root / "models/late_orders/raw/orders.csv"
    file.write_text("".join(line for line in file.read_text().splitlines(keepends=True) if "2025-04-09 " not in line))
    done = world.tally("backfill", world.model, "--from", "2025-04-08", "--to", "2025-04-10", "--json", code=4)
    assert [day["action"] for day in done.json] == ["committed", "refused", "committed"]
    assert "2025-04-09" in done.json[1]["detail"]
