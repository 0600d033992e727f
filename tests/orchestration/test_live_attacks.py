"""A real Airflow with hostile texts and users: no page runs a script, and nobody approves but who is named.

One project and one Airflow serve the whole file.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from browsers import Tab, browser, browsing
from edits import EASY_GATES, edited

from tallywright.orchestration.embedded import project as local
from tallywright.orchestration.embedded.processes import COMMANDS, USER, EmbeddedAirflow
from tallywright.orchestration.embedded.rest import AirflowRest, RestError

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1500)]

MODEL, APPROVER = "late_orders", "ann"
TRAIN, SCORE = f"{MODEL}__train", f"{MODEL}__score"
DESCRIPTION = (
    """<script>fetch('/ran-desc')</script><img src=x onerror="fetch('/ran-img')"> [a](javascript:fetch('/ran'))"""
)
TAG, OWNER, REASON = (f"<img src=x onerror=fetch('/ran-{name}')>" for name in ("tag", "owner", "reason"))
REGION = """<img src=x onerror="fetch('/ran-region')"><script>fetch('/ran-region')</script>"""


class TwoUsers(EmbeddedAirflow):
    """An embedded Airflow with an approver beside the user whom it always has."""

    def environment(self) -> dict[str, str]:
        users = f"{USER}:admin,{APPROVER}:admin"
        return super().environment() | {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": users}


@dataclass(frozen=True, slots=True)
class Live:
    airflow: EmbeddedAirflow
    rest: AirflowRest
    approver: AirflowRest
    tally: Callable[..., str]

    def until(self, dag: str, run: str, task: str, *states: str) -> str:
        deadline, found = time.monotonic() + 600, ""
        while found not in states:
            assert time.monotonic() < deadline, (dag, run, found)
            with suppress(TimeoutError):  # of a server that is busy
                found = self.rest.task_states(dag, run).get(task, "none")
            assert self.airflow.missing() == []
            time.sleep(1)
        return found


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, tally: Callable[..., str]) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("attacks") / "sample"
    tally(root.parent, "init", str(root), "--model", MODEL)
    _spoil(root)
    tally(root, "ingest", MODEL, "--from", "2025-01-01", "--to", "2025-04-02")
    airflow = TwoUsers(root, root / ".tally" / "airflow", parallelism=2)
    try:
        rest = local.start(airflow)
        passwords = json.loads((airflow.home / "passwords.json").read_text())
        yield Live(airflow, rest, AirflowRest(airflow.address, APPROVER, passwords[APPROVER]), tally)
    finally:
        assert sorted(airflow.stop()) == sorted(COMMANDS)


def _spoil(root: Path) -> None:
    raw, model = root / "models" / MODEL / "raw/orders.csv", root / "models" / MODEL / "model.yaml"
    raw.write_text(raw.read_text().replace('"north"', '"' + REGION.replace('"', '""') + '"'))
    assert REGION.replace('"', '""') in raw.read_text()
    text = edited(
        model.read_text(),
        ("Will an order arrive late? Asked at the moment it is placed.", json.dumps(DESCRIPTION)),
        ("tags: [sample]", f"tags: [{json.dumps(TAG)}]"),
        ("name: Your team", f"name: {json.dumps(OWNER)}"),
        *EASY_GATES,
        ("epochs: 30", "epochs: 1"),
    )
    model.write_text(f"{text.rstrip()}\nregistry:\n  approval: person\n  approvers: [{APPROVER}]\n")


@pytest.fixture(scope="module")
def refused(live: Live) -> str:
    """A run that fails for want of a champion."""
    run = live.rest.trigger(SCORE, {"date": "2025-04-01"})
    live.until(SCORE, run, "score", "failed", "upstream_failed")
    return run


@pytest.fixture(scope="module")
def asked(live: Live, refused: str) -> str:
    """A train run that waits for its approval."""
    run = live.rest.trigger(TRAIN, {"date": "2025-04-01", "effective_from": "2025-04-01", "reason": REASON})
    live.until(TRAIN, run, "approval", "awaiting_input")
    return run


def question(run: str) -> str:
    return f"/dags/{TRAIN}/dagRuns/{quote(run, safe='')}/taskInstances/approval"


YES: dict[str, Any] = {"chosen_options": ["Approve"], "params_input": {}}


@pytest.fixture(scope="module")
def seen(live: Live, asked: str, refused: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """A browser that is signed in while the runs are there."""
    browser()
    token = live.rest.sign_in()
    with browsing(tmp_path_factory.mktemp("browser"), live.airflow.address, {"_token": token}) as tab:
        yield tab


def pages(live: Live, asked: str, refused: str) -> dict[str, tuple[str, ...]]:
    """Pages, and the texts by which one can tell that they have shown what is hostile."""
    train, score = (f"/dags/{dag}/runs/{quote(run, safe='')}" for dag, run in ((TRAIN, asked), (SCORE, refused)))
    return {
        "/dags": (TRAIN, "ran-tag"),
        f"/dags/{TRAIN}": (TRAIN, "ran-owner"),
        f"{train}/details": ("ran-reason",),
        f"{train}/tasks/approval/required_actions": ("Promote a new version",),
        f"{score}/tasks/score": ("NoChampionError",),
        "/required_actions": ("Promote a new version",),
        "/xcoms": ("return_value",),
        "/assets": (f"{MODEL}__scores",),
        "/events": ("trigger_dag_run",),
    }


def test_no_page_runs_what_the_texts_hold(live: Live, asked: str, refused: str, seen: Tab) -> None:
    address, told, before = live.airflow.address, {}, len(seen.requested)
    for page, texts in pages(live, asked, refused).items():
        told[page] = seen.open(address + page, *texts)
    seen.open(f"{address}/dags/{TRAIN}", "ran-owner")
    seen.click("Dag Docs")
    told["docs"] = seen.shown("This DAG trains")
    assert [page for page, document in told.items() if 'href="javascript' in document] == []
    requested = [one.removeprefix("blob:") for one in seen.requested[before:]]
    assert [one for one in requested if "/ran" in one or urlsplit(one).hostname != "127.0.0.1"] == []
    assert seen.dialogs == []


def test_the_browser_would_tell_of_a_script_that_runs(live: Live, seen: Tab, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(f"<body>shown {DESCRIPTION.replace('/ran', live.airflow.address + '/ran')}")
    before = len(seen.requested)
    seen.open(page.as_uri(), "shown")
    assert {urlsplit(one).path for one in seen.requested[before:]} >= {"/ran-desc", "/ran-img"}


def test_only_who_is_named_approves_and_silence_never_does(live: Live, asked: str) -> None:
    with pytest.raises(RestError, match="403"):
        live.rest.call("PATCH", f"{question(asked)}/-1/hitlDetails", YES)
    forged = {"responded_by_user": {"id": APPROVER, "name": APPROVER}, **YES}
    live.rest.call("POST", f"{question(asked)}/xcomEntries", {"key": "return_value", "value": forged})
    live.rest.call("PATCH", question(asked), {"new_state": "success"})
    live.until(TRAIN, asked, "promote", "failed")
    assert "was not written by the task approval" in live.rest.task_log(TRAIN, asked, "promote")
    assert live.tally(live.airflow.root, "history", MODEL, "--json").strip() in ("[]", '{"promotions": []}')

    again = {"dry_run": False, "only_failed": False, "dag_run_id": asked, "task_ids": ["approval", "promote"]}
    live.rest.call("POST", f"/dags/{TRAIN}/clearTaskInstances", again)
    live.until(TRAIN, asked, "approval", "awaiting_input", "failed")
    time.sleep(10)  # until the scheduler has heard that the asking process ended
    live.approver.call("PATCH", f"{question(asked)}/-1/hitlDetails", YES)
    live.until(TRAIN, asked, "promote", "success", "failed")
    (line,) = json.loads(live.tally(live.airflow.root, "history", MODEL, "--json"))
    assert (line["approver"], line["authentication"]) == (APPROVER, "airflow")
    # Who triggered the run is its author, who may not approve: `tally init` writes a spec that says so.
    sql = f"select author from {MODEL}__versions"
    assert json.loads(live.tally(live.airflow.root, "query", sql, "--json")) == [{"author": USER}]
