"""The events of real steps, as a server takes them: valid by the standard, with what was read and written."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from lineage_server import configure
from openlineage_schema import problems
from synthetic import DAY
from writers import NOW

from tallywright.data.inputs.versions import input_version
from tallywright.errors import GateRefusedError, InputError
from tallywright.gates.record import day_subject, record_report
from tallywright.lifecycle.lineage.observe import observed
from tallywright.lifecycle.plan import find_step
from tallywright.records import Check, GateReport, Verdict
from tallywright.scoring.commit.manifests import latest_manifest

pytestmark = pytest.mark.usefixtures("client")


def test_a_day_is_told_with_versions_rows_and_models(day, server) -> None:
    configure(day, transport="http", url=server.url, api_key="key-of-the-server")
    day.step("ingest", "one")
    day.gate()
    day.score("one")
    assert [problem for event in server.events for problem in problems(event)] == []
    assert server.asked == [("/api/v1/lineage", "Bearer key-of-the-server")] * 4
    ingest, score = server.of("ingest"), server.of("score")
    assert ingest.keys() == score.keys() == {"START", "COMPLETE"}
    assert ingest["START"]["run"]["runId"] == ingest["COMPLETE"]["run"]["runId"] != score["START"]["run"]["runId"]
    assert score["START"]["outputs"] == []

    lake = day.lake
    (raw,) = ingest["COMPLETE"]["inputs"]
    assert (raw["namespace"], raw["name"]) == ("file", str(day.root / "models/shop/orders.csv"))
    assert raw["inputFacets"]["inputStatistics"]["rowCount"] == 60
    features = by_name(ingest["COMPLETE"]["outputs"])["shop__features"]
    assert (features["namespace"], features["name"]) == ("file", lake.uri("shop__features"))
    told = features["outputFacets"]["outputStatistics"]
    assert (told["rowCount"], told["fileCount"]) == (60, 1)
    assert told["size"] == sum(file.size for file in lake.files("shop__features"))
    assert {one["name"]: one["type"] for one in features["facets"]["schema"]["fields"]} == {
        "score_date": "date32[day]", "order_id": "string", "score_moment": "timestamp[us, tz=UTC]", "c0": "string",
        "x0": "double", "x1": "double",
    }  # fmt: skip

    manifest = latest_manifest(lake, day.project.spec, DAY)
    read, written = by_name(score["COMPLETE"]["inputs"]), by_name(score["COMPLETE"]["outputs"])
    assert read["shop__features"]["facets"]["version"]["datasetVersion"] == str(manifest.input.version)
    assert read["1"]["name"].endswith("mlflow.db/models/shop/1")
    assert read["1"]["facets"]["version"]["datasetVersion"] == manifest.primary.digest
    assert written["shop__scores"]["facets"]["version"]["datasetVersion"] == str(lake.look("shop__scores").version())
    assert written["shop__scores"]["outputFacets"]["outputStatistics"]["rowCount"] == manifest.rows
    assert written.keys() == {"shop__scores", "shop__profile", "shop__drift", "shop__tallies"}


def by_name(datasets: list[dict]) -> dict[str, dict]:
    return {one["name"].rpartition("/")[2]: one for one in datasets}


def test_a_job_says_what_it_is_whose_it_is_and_by_which_code(day, server, monkeypatch) -> None:
    monkeypatch.setenv("TALLYWRIGHT_CODE_VERSION", "c0ffee")
    configure(day, transport="http", url=server.url, namespace="shops")
    day.step("ingest")
    event = server.of("ingest")["COMPLETE"]
    assert (event["job"]["namespace"], event["job"]["name"]) == ("shops", "shop__score.ingest")
    facets = event["job"]["facets"]
    assert facets["documentation"]["description"].startswith("raw files ->")
    assert [one["name"] for one in facets["ownership"]["owners"]] == ["Tests", "tests@example.com"]
    assert facets["jobType"]["processingType"] == "BATCH"
    nominal = event["run"]["facets"]["nominalTime"]
    assert nominal["nominalStartTime"] == f"{DAY}T00:00:00+00:00"
    assert nominal["nominalEndTime"] == f"{DAY + timedelta(days=1)}T00:00:00+00:00"
    parent = event["run"]["facets"]["parent"]
    assert (parent["job"]["namespace"], parent["job"]["name"]) == ("shops", "shop__score")


def test_under_airflow_the_parent_is_the_run_of_the_dag_and_each_attempt_a_run(day, server, monkeypatch) -> None:
    configure(day, transport="http", url=server.url)
    monkeypatch.setenv("AIRFLOW_CTX_DAG_ID", "shop__backfill")
    for attempt in "12":
        monkeypatch.setenv("AIRFLOW_CTX_TRY_NUMBER", attempt)
        day.step("ingest", "scheduled__1")
    parents = {event["run"]["facets"]["parent"]["run"]["runId"] for event in server.events}
    assert len(parents) == 1
    assert {event["run"]["facets"]["parent"]["job"]["name"] for event in server.events} == {"shop__backfill"}
    assert len({event["run"]["runId"] for event in server.events}) == 2


def test_a_gate_that_refuses_says_which_checks_it_made(day, server) -> None:
    day.ingest()
    configure(day, transport="http", url=server.url)
    context = day.context("refused")
    subject = day_subject(input_version(context.lake, context.spec, DAY))
    checks = (
        Check(name="expect_column_values_to_not_be_null(x0)", verdict=Verdict.FAIL, observed=0.5, bound="none"),
        Check(name="row_count", verdict=Verdict.WARN, observed="60", bound="at least 100", evidence="few"),
        Check(name="columns", verdict=Verdict.PASS),
    )
    report = GateReport(gate="day", model="shop", subject=subject, checks=checks)
    record_report(context.lake, context.spec, report, run_id="refused", recorded_at=NOW)
    with pytest.raises(GateRefusedError), observed(context, *find_step(context.spec, "day_gate")):
        raise GateRefusedError("the day gate refuses it", remedy="look at s3://me:hidden@bucket/x")
    event = server.of("day_gate")["FAIL"]
    assert problems(event) == []
    error = event["run"]["facets"]["errorMessage"]
    assert error["message"].startswith("the day gate refuses it")
    assert "hidden" not in json.dumps(event)
    (features,) = event["inputs"]
    told = features["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert [(one["assertion"], one.get("column"), one["success"], one["severity"]) for one in told] == [
        ("expect_column_values_to_not_be_null", "x0", False, "error"),
        ("row_count", None, False, "warn"),
        ("columns", None, True, "error"),
    ]
    assert (told[0]["actual"], told[0]["expected"], told[1]["description"]) == ("0.5", "none", "few")
    assert event["outputs"] == []


def test_a_step_whose_input_is_missing_is_told_as_failed(day, server) -> None:
    configure(day, transport="http", url=server.url)
    (day.root / "models/shop/orders.csv").unlink()
    with pytest.raises(InputError):
        day.step("ingest")
    event = server.of("ingest")["FAIL"]
    assert "orders.csv" in event["run"]["facets"]["errorMessage"]["message"]
    assert "stackTrace" not in event["run"]["facets"]["errorMessage"]
    assert problems(event) == []


@pytest.mark.parametrize(("error", "state"), [(KeyboardInterrupt, "ABORT"), (ValueError, "FAIL")])
def test_a_step_that_was_stopped_or_has_a_bug(day, server, error, state) -> None:
    configure(day, transport="http", url=server.url)
    context = day.context()
    with pytest.raises(error), observed(context, *find_step(context.spec, "watch")):
        raise error
    event = server.of("watch")[state]
    assert problems(event) == []
    assert error.__name__ in event["run"]["facets"]["errorMessage"]["stackTrace"]


def test_the_steps_of_a_training_hang_together_by_candidate_and_version(day, server) -> None:
    """The results are those of the steps; MLflow is asked nothing."""
    day.ingest()
    configure(day, transport="http", url=server.url)
    context = day.context("train")
    pinned = {name: {"table": f"shop__{name}", "version": 1} for name in ("features", "labels")}
    for name, result in (
        ("snapshot", pinned),
        ("train", {"digest": "d1", "folder": "x"}),
        ("register", {"version": 4, "digest": "d1"}),
        ("promote", {"model_version": 4, "package_digest": "d1"}),
    ):
        with observed(context, *find_step(context.spec, name)) as seen:
            seen.result = result
    assert [problem for event in server.events for problem in problems(event)] == []
    done = {name: server.of(name)["COMPLETE"] for name in ("snapshot", "train", "register", "promote")}
    versions = {one["facets"]["version"]["datasetVersion"] for one in done["snapshot"]["inputs"]}
    assert versions == {"1"}
    (candidate,) = done["train"]["outputs"]
    assert candidate["name"] == by_name(done["register"]["inputs"])["shop"]["name"]
    model = by_name(done["register"]["outputs"])["4"]
    assert by_name(done["promote"]["inputs"])["4"]["name"] == model["name"]
    assert model["facets"]["version"]["datasetVersion"] == "d1"


def test_a_closed_day_and_a_dry_run(day, server) -> None:
    day.ingest()
    configure(day, transport="http", url=server.url)
    context = day.context()
    with observed(context, *find_step(context.spec, "ingest")) as seen:
        seen.result = {"action": "closed", "why": "sunday"}
    assert server.of("ingest")["COMPLETE"]["inputs"] == server.of("ingest")["COMPLETE"]["outputs"] == []
    server.events.clear()
    with observed(day.context(dry_run=True), *find_step(context.spec, "maintain")):
        pass
    assert server.events == []
