from __future__ import annotations

import threading
from datetime import date, timedelta

import pytest
from first_version import as_the_first_version
from world import NOW, World, warmer

from tallywright.gates.record import record_report
from tallywright.monitoring.actions import claim_action
from tallywright.monitoring.decisions import decide
from tallywright.monitoring.performance import realised
from tallywright.records import Check, DayState, GateReport, Verdict
from tallywright.spec.sections import Retraining

FIRST = date(2024, 3, 1)


def day(number: int) -> date:
    return FIRST + timedelta(days=number - 1)


@pytest.fixture
def monitored(world):
    """A world of few rows a day in which only the features decide, two of three days."""
    monitoring = world.spec.monitoring.model_copy(update={"min_rows": 50, "min_labels": 50})
    retraining = world.spec.retraining.model_copy(
        update={"num_evaluation_windows": 3, "num_violation_windows": 2, "cooldown_days": 3, "min_violated_columns": 1}
    )
    world.spec = world.spec.model_copy(update={"monitoring": monitoring, "retraining": retraining})
    return world


def watch(world: World, number: int, *, shifted: bool = False, verdict: Verdict = Verdict.PASS) -> None:
    world.watch(day(number), 200, change=warmer if shifted else None, verdict=verdict)


def table_of(world, name: str = "decisions") -> list[dict]:
    rows = world.lake.read(f"shop__{name}").to_pylist()
    return sorted(rows, key=lambda row: (row["score_date"], row.get("revision", 0)))


def story(world) -> list[tuple[int, int, str, bool]]:
    """Day, revision, state (with ! when it retrains), superseded."""
    return [
        (row["score_date"].day, row["revision"], row["state"] + "!" * row["retrain"], row["superseded"])
        for row in table_of(world)
    ]


def test_every_day_has_a_row_the_quiet_ones_too(monitored) -> None:
    for number, shifted in enumerate([False, True, True], start=1):
        watch(monitored, number, shifted=shifted)
        decide(monitored.lake, monitored.spec, day(number), recorded_at=NOW)
    assert story(monitored) == [(1, 1, "ok", False), (2, 1, "suspected", False), (3, 1, "confirmed!", False)]
    last = table_of(monitored)[-1]
    assert last["reasons"][0] == "drift: 1 columns: x0"
    assert last["recorded_at"] == NOW
    assert last["policy_digest"] == monitored.spec.retraining.identity().current


def test_a_day_of_few_rows_or_labels_is_not_judged(world) -> None:
    world.watch(day(1), 91)
    world.label(day(1))
    realised(world.lake, world.spec, day(1), day(4))
    world.watch(day(4), 300)
    decide(world.lake, world.spec, day(1), recorded_at=NOW)
    decide(world.lake, world.spec, day(4), recorded_at=NOW)
    few, no_labels = table_of(world)
    assert few["state"] == no_labels["state"] == "not judged"
    assert few["reasons"] == ["not_judged: drift: 91 rows, at least 200 (monitoring.min_rows)"]
    (reason,) = no_labels["reasons"]
    assert reason.startswith("not_judged: roc_auc of 2024-03-01: ")
    assert reason.endswith("labels, at least 100 (monitoring.min_labels)")


def test_retraining_stands_only_while_a_training_runs(monitored) -> None:
    decision = confirmed(monitored)
    watch(monitored, 3, shifted=True)
    assert decide(monitored.lake, monitored.spec, day(3)).state is DayState.CONFIRMED  # nobody acted
    asked = decide(monitored.lake, monitored.spec, day(3))
    assert claim_action(monitored.lake, monitored.spec, asked, act=True, run_id="a", claimed_at=NOW)
    watch(monitored, 4, shifted=True)
    assert decide(monitored.lake, monitored.spec, day(4)).state is DayState.RETRAINING
    check = Check(name="superiority_roc_auc", verdict=Verdict.FAIL)
    report = GateReport(gate="quality", model="shop", subject="d" * 64, checks=(check,))
    later = NOW + timedelta(hours=1)
    record_report(monitored.lake, monitored.spec, report, run_id="train", recorded_at=later)
    told = decide(monitored.lake, monitored.spec, day(4))
    assert told.state is DayState.COOLDOWN
    refused = "training: its candidate was refused by the gate quality (superiority_roc_auc), 1 in a row"
    assert refused in told.reasons
    assert decide(monitored.lake, monitored.spec, day(3)).decision_id == asked.decision_id
    assert decision.retrain


@pytest.mark.parametrize(
    ("verdict", "told"),
    [
        (Verdict.PASS, "training: its candidate passed the gates"),
        (Verdict.UNDECIDED, "training: its candidate is undecided by the gate quality (superiority_roc_auc)"),
    ],
)
def test_what_became_of_a_training_is_told(monitored, verdict: Verdict, told: str) -> None:
    confirmed(monitored)
    for number in (3, 4):
        watch(monitored, number, shifted=True)
    asked = decide(monitored.lake, monitored.spec, day(3))
    assert claim_action(monitored.lake, monitored.spec, asked, act=True, run_id="a", claimed_at=NOW)
    for gate, check in (("quality", Check(name="superiority_roc_auc", verdict=verdict)),
                        ("operations", Check(name="owner_named", verdict=Verdict.PASS))):  # fmt: skip
        report = GateReport(gate=gate, model="shop", subject="d" * 64, checks=(check,))
        record_report(monitored.lake, monitored.spec, report, run_id="train", recorded_at=NOW + timedelta(hours=1))
    decided = decide(monitored.lake, monitored.spec, day(4))
    assert decided.state is DayState.COOLDOWN
    assert told in decided.reasons


def test_deciding_again_writes_nothing(monitored) -> None:
    watch(monitored, 1)
    first = decide(monitored.lake, monitored.spec, day(1))
    version = monitored.lake.open("shop__decisions").version()
    assert decide(monitored.lake, monitored.spec, day(1)) == first
    assert monitored.lake.open("shop__decisions").version() == version


def test_decisions_of_the_first_version_stand(monitored) -> None:
    with as_the_first_version(Retraining):
        for number in (1, 2, 3):
            watch(monitored, number, shifted=number > 1)
            decide(monitored.lake, monitored.spec, day(number), recorded_at=NOW)
    before = table_of(monitored)
    assert not any(row["policy_digest"].startswith("1:") for row in before)
    for number in (1, 2, 3):
        assert decide(monitored.lake, monitored.spec, day(number)).decision_id == before[number - 1]["decision_id"]
    assert table_of(monitored) == before
    watch(monitored, 2)  # restated: the decisions of this very policy follow, whichever form they say
    decide(monitored.lake, monitored.spec, day(2), recorded_at=NOW + timedelta(hours=1))
    assert [row["revision"] for row in table_of(monitored)] == [1, 1, 2, 1, 2]


def test_a_restated_day_supersedes_what_followed_from_it_visibly(monitored) -> None:
    for number in (1, 2, 3):
        watch(monitored, number, shifted=number > 1)
        decide(monitored.lake, monitored.spec, day(number), recorded_at=NOW)
    watch(monitored, 2)
    later = NOW + timedelta(hours=1)
    assert decide(monitored.lake, monitored.spec, day(2), recorded_at=later).state is DayState.OK
    assert story(monitored) == [
        (1, 1, "ok", False),
        (2, 1, "suspected", True),
        (2, 2, "ok", False),
        (3, 1, "confirmed!", True),
        (3, 2, "suspected", False),
    ]
    assert [row["superseded_at"] for row in table_of(monitored)] == [None, later, None, later, None]


def test_days_decided_in_any_order_end_with_the_same_decisions(monitored) -> None:
    for number in (3, 1, 2):
        watch(monitored, number, shifted=number > 1)
        decide(monitored.lake, monitored.spec, day(number))
    standing = [(number, state) for number, _, state, superseded in story(monitored) if not superseded]
    assert standing == [(1, "ok"), (2, "suspected"), (3, "confirmed!")]


def test_a_day_with_broken_data_is_no_evidence(monitored) -> None:
    watch(monitored, 1, shifted=True)
    watch(monitored, 2, shifted=True, verdict=Verdict.FAIL)
    decision = decide(monitored.lake, monitored.spec, day(2))
    assert decision.state is DayState.SUSPECTED
    assert decision.reasons[0].startswith("broken_day: the day gate failed")


@pytest.mark.parametrize("case", ["unscored", "ungated", "uncompared", "restated"])
def test_missing_evidence_makes_a_day_broken(monitored, case: str) -> None:
    if case == "restated":
        watch(monitored, 1)
    if case != "unscored":
        manifest = monitored.score(day(1), 200, change=warmer)
        if case != "ungated":
            monitored.gate(manifest.input, Verdict.PASS)
    expected = {
        "unscored": "not scored",
        "ungated": "no day gate result",
        "uncompared": "generation 1 was not compared",
        "restated": "generation 2 was not compared",
    }
    assert expected[case] in decide(monitored.lake, monitored.spec, day(1)).reasons[0]


def test_the_newest_report_of_the_day_gate_counts(monitored) -> None:
    watch(monitored, 1, verdict=Verdict.FAIL)
    pinned = monitored.score(day(1), 200).input
    monitored.gate(pinned, Verdict.WARN, at=NOW + timedelta(hours=1))
    assert decide(monitored.lake, monitored.spec, day(1)).reasons == ()


def test_realised_performance_counts_on_the_day_it_became_known(monitored) -> None:
    for number in (1, 2):
        watch(monitored, number)
    monitored.label(day(1), skill=0.0, arrives=timedelta(hours=30))
    realised(monitored.lake, monitored.spec, day(1), as_of=day(2))
    assert decide(monitored.lake, monitored.spec, day(1)).state is DayState.OK
    second = decide(monitored.lake, monitored.spec, day(2))
    assert second.state is DayState.SUSPECTED
    assert second.reasons[0].startswith("performance: roc_auc of 2024-03-01 is 0.")
    realised(monitored.lake, monitored.spec, day(1), as_of=day(3))
    watch(monitored, 3)
    assert decide(monitored.lake, monitored.spec, day(3)).state is DayState.SUSPECTED


def test_another_policy_leaves_what_was_decided_under_the_old_one(monitored) -> None:
    for number in (1, 2):
        watch(monitored, number, shifted=True)
        decide(monitored.lake, monitored.spec, day(number))
    strict = monitored.spec.retraining.model_copy(update={"num_violation_windows": 3})
    monitored.spec = monitored.spec.model_copy(update={"retraining": strict})
    watch(monitored, 3)
    decide(monitored.lake, monitored.spec, day(3))
    assert story(monitored) == [(1, 1, "suspected", False), (2, 1, "confirmed!", False), (3, 1, "suspected", False)]


def confirmed(world):
    for number in (1, 2):
        watch(world, number, shifted=True)
        decision = decide(world.lake, world.spec, day(number))
    return decision


def test_an_action_is_claimed_once_and_stays_with_the_run_that_claimed_it(monitored) -> None:
    decision = confirmed(monitored)

    def claim(run_id: str) -> bool:
        return claim_action(monitored.lake, monitored.spec, decision, act=True, run_id=run_id)

    assert [claim("a"), claim("b"), claim("a"), claim("")] == [True, False, True, False]
    rows = table_of(monitored, "actions")
    facts = [(row["action"], row["decision_id"], row["run_id"]) for row in rows]
    assert facts == [("train", decision.decision_id, "a")]


def test_many_runs_at_once_get_one_action(monitored) -> None:
    decision = confirmed(monitored)
    answers: list[bool] = []

    def claim(number: int) -> None:
        answers.append(claim_action(monitored.lake, monitored.spec, decision, act=True, run_id=f"run-{number}"))

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False] * 5 + [True]


def test_nothing_is_claimed_in_a_backfill_or_for_quiet_old_or_untriggered_decisions(monitored) -> None:
    decision = confirmed(monitored)
    quiet = decision.model_copy(update={"retrain": False})
    untriggered = monitored.spec.model_copy(
        update={"retraining": monitored.spec.retraining.model_copy(update={"trigger": False})}
    )
    assert not claim_action(monitored.lake, monitored.spec, decision, act=False)
    assert not claim_action(monitored.lake, monitored.spec, quiet, act=True)
    assert not claim_action(monitored.lake, untriggered, decision, act=True)
    watch(monitored, 3)
    decide(monitored.lake, monitored.spec, day(3))
    assert not claim_action(monitored.lake, monitored.spec, decision, act=True)
    assert not monitored.lake.exists("shop__actions")


def test_a_restatement_that_moves_the_decision_does_not_act_twice_in_one_cooldown(monitored) -> None:
    decision = confirmed(monitored)
    assert claim_action(monitored.lake, monitored.spec, decision, act=True, run_id="a")
    watch(monitored, 1)
    decide(monitored.lake, monitored.spec, day(1))
    watch(monitored, 3, shifted=True)
    moved = decide(monitored.lake, monitored.spec, day(3))
    assert moved.retrain
    assert not claim_action(monitored.lake, monitored.spec, moved, act=True, run_id="b")
