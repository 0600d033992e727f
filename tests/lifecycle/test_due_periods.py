"""What steps do about due periods: a refusal is a row, the watch looks at every one, the newest run catches up."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from day_gate import report_day
from decided import decided
from synthetic import DAY, commit_day, make_features, make_package, make_project

from tallywright.data.delta.lake import Lake
from tallywright.errors import GateRefusedError, InputError
from tallywright.lifecycle.context import RunContext, RunOptions
from tallywright.lifecycle.plan import Pipeline
from tallywright.lifecycle.run import run_pipeline, run_step
from tallywright.monitoring.periods import read_periods
from tallywright.packaging.package import PackageCache
from tallywright.records import Promotion, Verdict
from tallywright.registry.promotion_log import PromotionLog
from tallywright.reporting.overview import overview
from tallywright.reporting.preview import preview
from tallywright.reporting.report import render
from tallywright.spec import Project

NOW = datetime(2024, 3, 2, tzinfo=UTC)
ACT = RunOptions(act=True)


def day(number: int) -> date:
    return DAY + timedelta(days=number)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A champion, and days that may be scored; the sixth is closed. There are no raw files to read labels from."""
    closed = {"dates": [day(5)]}
    project = make_project(tmp_path, schedule={"closed": closed, "catch_up": 2})
    lake, spec = Lake.of(project.environment), project.spec
    package = PackageCache(tmp_path.joinpath(project.environment.storage.cache)).put(
        make_package(tmp_path / "package").folder
    )
    line = decided(Promotion(
        model="shop", sequence=0, action="promote", model_version=1, package_digest=package.digest,
        trained_through=date(2024, 1, 31), effective_from=DAY, recorded_at=NOW, approver="policy", reason="first",
    ))  # fmt: skip
    PromotionLog(lake, spec).append(lambda _: line)
    return project


def put(project: Project, number: int, verdict: Verdict = Verdict.PASS) -> None:
    lake, spec = Lake.of(project.environment), project.spec
    commit_day(lake, spec, make_features(300, seed=number), day=day(number))
    report_day(lake, spec, day(number), run_id=f"gate-{verdict}", at=NOW, verdict=verdict)


def context(project: Project, number: int, options: RunOptions | None = None) -> RunContext:
    return RunContext(project, day(number), f"run-{number}", options or RunOptions())


def score(project: Project, *numbers: int) -> None:
    for number in numbers:
        put(project, number)
        run_step(context(project, number), "score")


def states(project: Project) -> dict[int, str]:
    rows = read_periods(Lake.of(project.environment), project.spec)
    return {(when - DAY).days: row.state for when, row in sorted(rows.items())}


def test_the_watch_names_every_missed_period_back_to_the_last_scored_one(project) -> None:
    score(project, 0, 3)
    for _ in range(2):
        with pytest.raises(InputError, match=r"no tally of 2024-03-03 \(missed\), 2024-03-02 \(missed\)"):
            run_step(context(project, 3), "watch")
    assert states(project) == {0: "scored", 1: "missed", 2: "missed", 3: "scored"}
    score(project, 1, 2)
    assert run_step(context(project, 3), "watch")["generation"] == 1
    assert set(states(project).values()) == {"scored"}


def test_the_watch_says_once_of_an_older_period_that_nobody_looked_at(project) -> None:
    score(project, 0, 2, 3)
    with pytest.raises(InputError, match=r"no tally of 2024-03-02 \(missed\)"):
        run_step(context(project, 3), "watch")
    assert run_step(context(project, 3), "watch")["rows"] == 300


def test_the_watch_expects_nothing_of_a_closed_day_nor_before_the_first_scored_one(project) -> None:
    score(project, 4)
    assert run_step(context(project, 5), "watch")["action"] == "closed"
    assert states(project) == {4: "scored", 5: "closed"}
    with pytest.raises(InputError, match=r"no tally of 2024-03-07 \(missed\)\n"):
        run_step(context(project, 6), "watch")


def test_a_refused_day_is_a_row_a_decision_and_a_gap_and_its_step_stays_red(project) -> None:
    score(project, 0)
    put(project, 1, Verdict.FAIL)
    with pytest.raises(GateRefusedError):
        run_step(context(project, 1), "score")
    row = read_periods(Lake.of(project.environment), project.spec)[day(1)]
    assert (row.state, row.reason, row.checks, row.exit_code) == ("refused", "gate_refused", ("rows",), 8)
    with pytest.raises(InputError, match=r"no tally of 2024-03-02 \(refused: gate_refused\)"):
        run_step(context(project, 1), "watch")
    shown = overview(project)[1]
    assert (shown.state, shown.reason, shown.failed_checks, shown.exit_code) == (
        "refused",
        "gate_refused",
        ("rows",),
        8,
    )
    assert shown.decision == "broken_day"
    page = render(project, Lake.of(project.environment))
    assert "Days without scores: 1" in page
    assert "broken_day: refused with gate_refused, rows (exit code 8)" in page
    assert '<li class="broken_day" title="2024-03-02: broken_day"><b>×</b>' in page
    put(project, 1)
    run_step(context(project, 1), "score")
    run_step(context(project, 1), "monitor")
    assert [one.state for one in overview(project)] == ["scored", "scored"]


def test_a_run_that_was_asked_wrongly_is_no_refusal(project) -> None:
    from tallywright.errors import UsageError

    with pytest.raises(UsageError):
        run_step(context(project, 1), "no_such_step")
    assert states(project) == {}


def test_labels_that_cannot_be_read_again_stop_nothing(project, heard) -> None:
    score(project, 0, 1)
    result = run_step(context(project, 1), "monitor")
    assert "raw.csv" in result["labels_failed"]
    assert "the next run does it" in heard.text
    assert result["decision_id"]


@pytest.mark.parametrize(
    ("scored", "options", "wanted", "left"),
    [
        ((0, 1), ACT, {}, {}),
        ((0, 2), ACT, {"from": "2024-03-02", "to": "2024-03-02"}, {}),
        ((0, 4), ACT, {"from": "2024-03-03", "to": "2024-03-04"}, {1: "missed"}),
        ((0, 7), ACT, {"from": "2024-03-05", "to": "2024-03-07"}, {1: "missed", 2: "missed", 3: "missed", 5: "closed"}),
        ((0, 4), RunOptions(), {}, {}),
        ((4,), ACT, {}, {}),
    ],
)
def test_the_newest_run_after_an_outage_asks_for_what_was_missed(project, scored, options, wanted, left) -> None:
    score(project, *scored)
    result = run_step(context(project, scored[-1], options), "monitor")
    assert result["catch_up"] == wanted
    found = states(project)
    assert {number: state for number, state in found.items() if state != "scored"} == left


def test_a_run_of_another_day_than_the_newest_catches_nothing_up(project) -> None:
    score(project, 0, 3, 4)
    assert run_step(context(project, 3, ACT), "monitor")["catch_up"] == {}


def test_nothing_runs_on_a_closed_day(project, heard) -> None:
    closed = context(project, 5)
    results = run_pipeline(closed, Pipeline.SCORE, only=("day_gate", "score", "monitor"))
    assert {result["action"] for result in results.values()} == {"closed"}
    assert "2024-03-06 is closed (a date in schedule.closed): nothing to do" in heard.text
    assert [(row.action, row.why) for row in preview(project, day(5), day(5))] == [
        ("closed", "a date in schedule.closed")
    ]


def test_a_closed_day_that_was_scored_before_it_was_closed_stays_scored(project) -> None:
    score(project, 0, 1)
    run_step(context(project, 1), "monitor")
    schedule = project.spec.schedule
    closed = schedule.closed.model_copy(update={"dates": (day(1),)})
    spec = project.spec.model_copy(update={"schedule": schedule.model_copy(update={"closed": closed})})
    later = replace(project, spec=spec)
    score(later, 2)
    run_step(context(later, 2), "monitor")
    assert states(later) == {1: "scored", 2: "scored"}
