"""A withdrawal takes one version out of production for good, wherever it stands in the promotion log."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from decided import decided
from hypothesis import given
from hypothesis import strategies as st

from tallywright.errors import GateRefusedError, NoChampionError, UsageError
from tallywright.records import Check, GateReport, Promotion, Verdict
from tallywright.registry import transitions
from tallywright.registry.evidence import evidence_of
from tallywright.registry.promotion_log import PromotionLog, champion_on, not_withdrawn, previous, withdrawals
from tallywright.registry.resolve import before_withdrawals, resolve
from tallywright.registry.versions import _wanted
from tallywright.registry.versions_table import record_version
from tallywright.registry.withdrawal import WithdrawRequest, withdraw
from tallywright.spec.sections import Canary

from .conftest import DAY, NOW, decision, reference

BAD = WithdrawRequest(2, "it was trained on wrong labels", "a person", NOW)


def entry(sequence, action, version, offset=0):
    return decided(
        Promotion(
            model="toy",
            sequence=sequence,
            action=action,
            model_version=version,
            package_digest=f"{version:064x}",
            trained_through=DAY - timedelta(days=30),
            effective_from=DAY - timedelta(days=29) if action == "withdraw" else DAY + timedelta(days=offset),
            recorded_at=NOW + timedelta(minutes=sequence),
            approver="policy",
            reason="because",
        )
    )


def promoted(project, lake, version, champion=None, offset=0, **changes):
    made = decision(reference(version), champion and reference(champion), **changes)
    return transitions.promote(
        project, lake, made, reference(version), effective_from=DAY + timedelta(days=offset), recorded_at=NOW
    )


@pytest.fixture
def log(project, lake):
    """Version 1 from DAY on, 2 from the fifth day after it on."""
    promoted(project, lake, 1)
    promoted(project, lake, 2, 1, offset=5)
    return PromotionLog(lake, project.spec)


def versions_of(refs):
    return [(ref.role.value, ref.version) for ref in refs]


def test_the_newest_earlier_champion_takes_the_place_of_a_withdrawn_one(project, lake, log):
    done = withdraw(lake, project.spec, BAD)
    assert (done.written, done.champion.model_version) == (True, 1)
    line = done.entry
    assert (line.action, line.model_version, line.sequence, line.reason) == ("withdraw", 2, 3, BAD.reason)
    for offset in range(10):
        day = DAY + timedelta(days=offset)
        assert versions_of(resolve(lake, project.spec, day)) == [("champion", 1)]
        before = before_withdrawals(lake, project.spec, day)
        assert versions_of(before.resolution.models) == [("champion", 2 if offset >= 5 else 1)]
        assert before.withdrawn == ({2: line} if offset >= 5 else {})
    assert log.champion_on(DAY + timedelta(days=5), known_at=NOW - timedelta(days=1)) is None
    assert _wanted(log.entries(), [1, 2, 3], {1, 2, 3}) == {"champion": 1, "previous": None, "challenger": 3}


def test_a_repeated_withdrawal_changes_nothing(project, lake, log):
    first = withdraw(lake, project.spec, BAD)
    again = withdraw(lake, project.spec, replace(BAD, reason="once more"))
    assert (again.written, again.entry) == (False, first.entry)
    assert len(log.entries()) == 3


def test_without_an_earlier_champion_nobody_scores(project, lake, log):
    withdraw(lake, project.spec, BAD)
    withdraw(lake, project.spec, replace(BAD, version=1))
    with pytest.raises(NoChampionError, match="version 2, which was withdrawn by line 3") as caught:
        resolve(lake, project.spec, DAY + timedelta(days=5))
    assert caught.value.exit_code == 7
    with pytest.raises(NoChampionError, match="version 1, which was withdrawn by line 4"):
        resolve(lake, project.spec, DAY)
    with pytest.raises(NoChampionError, match="the first one is effective from"):
        resolve(lake, project.spec, DAY - timedelta(days=1))
    assert log.current() is None


def test_a_champion_that_a_rollback_took_out_does_not_come_back_by_a_withdrawal(project, lake, log):
    request = transitions.RollbackRequest(DAY + timedelta(days=6), "bad", "a person", NOW)
    assert transitions.rollback(project, lake, request).model_version == 1
    withdraw(lake, project.spec, replace(BAD, version=1))
    with pytest.raises(NoChampionError):
        resolve(lake, project.spec, DAY + timedelta(days=6))
    # Before the rollback's date version 2 is champion still.
    assert versions_of(resolve(lake, project.spec, DAY + timedelta(days=5))) == [("champion", 2)]


def test_a_rollback_never_brings_a_withdrawn_version_back(project, lake, log):
    promoted(project, lake, 3, 2, offset=7)
    withdraw(lake, project.spec, BAD)
    request = transitions.RollbackRequest(DAY + timedelta(days=8), "bad", "a person", NOW)
    assert transitions.rollback(project, lake, request).model_version == 1


def test_a_promotion_that_is_only_repeated_does_not_undo_a_withdrawal(project, lake, log):
    withdraw(lake, project.spec, BAD)
    for reason in ("all gates passed", "every gate passed"):
        with pytest.raises(GateRefusedError, match="withdrawn by line 3 of the log: it was trained on wrong labels"):
            promoted(project, lake, 2, 1, offset=9, reason=reason)
    assert promoted(project, lake, 2, 1, offset=9, reason="the labels were right").sequence == 4
    assert versions_of(resolve(lake, project.spec, DAY + timedelta(days=9))) == [("champion", 2)]
    assert withdraw(lake, project.spec, BAD).written


def test_the_same_promotion_once_more_changes_nothing_and_names_the_withdrawal(project, lake, log):
    done = withdraw(lake, project.spec, BAD)
    again = promoted(project, lake, 2, 1, offset=5)
    assert again.sequence == 2
    assert "was withdrawn by line 3" in transitions.repeated(lake, project.spec, again)
    assert transitions.repeated(lake, project.spec, done.entry) == ""
    assert len(log.entries()) == 3
    assert withdraw(lake, project.spec, replace(BAD, version=1)).entry.request != done.entry.request


@pytest.mark.parametrize(("version", "reason", "by"), [(2, " ", "a person"), (2, "bad", ""), (7, "bad", "a person")])
def test_what_cannot_be_withdrawn(project, lake, log, version, reason, by):
    with pytest.raises(UsageError):
        withdraw(lake, project.spec, WithdrawRequest(version, reason, by, NOW))
    assert len(log.entries()) == 2


def test_a_version_that_was_never_champion_is_no_canary_and_no_challenger_any_more(project, lake, log):
    ref = reference(3)
    reports = [
        GateReport(gate=gate, model="toy", subject=ref.digest, checks=(Check(name="all", verdict=Verdict.PASS),))
        for gate in ("quality", "operations")
    ]
    record_version(lake, project.spec, ref, evidence_of("shop", ref.digest, reports), recorded_at=NOW)
    for model in (3, "challenger"):
        scoring = project.spec.scoring.model_copy(update={"canary": Canary(model=model, share=0.1)})
        spec = project.spec.model_copy(update={"scoring": scoring})
        assert versions_of(resolve(lake, spec, DAY)) == [("champion", 1), ("canary", 3)]
    withdraw(lake, project.spec, replace(BAD, version=3))
    for model in (3, "challenger"):
        scoring = project.spec.scoring.model_copy(update={"canary": Canary(model=model, share=0.1)})
        spec = project.spec.model_copy(update={"scoring": scoring})
        assert versions_of(resolve(lake, spec, DAY)) == [("champion", 1)]
    assert _wanted(log.entries(), [1, 2, 3], {1, 2, 3})["challenger"] is None
    # It leaves the dates of the others as they are.
    assert promoted(project, lake, 4, 2, offset=6).model_version == 4


def test_a_version_that_is_promoted_again_is_champion_from_then_on_alone(project, lake, log):
    withdraw(lake, project.spec, BAD)
    promoted(project, lake, 2, 1, offset=8, reason="the labels were right")
    found = [resolve(lake, project.spec, DAY + timedelta(days=offset))[0].version for offset in (5, 7, 8, 9)]
    assert found == [1, 1, 2, 2]
    assert before_withdrawals(lake, project.spec, DAY + timedelta(days=7)).withdrawn.keys() == {2}
    assert before_withdrawals(lake, project.spec, DAY + timedelta(days=8)).withdrawn == {}


def test_a_pinned_version_that_was_withdrawn_is_refused(project, lake, log):
    withdraw(lake, project.spec, BAD)
    scoring = project.spec.scoring.model_copy(update={"models": "pinned:2"})
    with pytest.raises(NoChampionError, match="pins version 2 of toy, which was withdrawn by line 3"):
        resolve(lake, project.spec.model_copy(update={"scoring": scoring}), DAY)


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["promote", "promote", "rollback", "withdraw"]), st.integers(1, 4), st.integers(0, 3)),
    max_size=9,
)


@given(ACTIONS)
def test_whatever_the_order_no_withdrawn_version_is_champion_and_all_others_keep_their_place(actions):
    log = []
    for action, version, offset in actions:
        known = {line.model_version for line in log}
        if action == "rollback":
            target = previous(log, DAY + timedelta(days=offset))
            version = target.model_version if target else 0  # noqa: PLW2901 - whom a rollback brings back
        if action == "promote" or (action == "withdraw" and version in known) or (action == "rollback" and version):
            log.append(entry(len(log) + 1, action, version, offset))
    for offset in range(-1, 5):
        day = DAY + timedelta(days=offset)
        standing = not_withdrawn(log, day)
        # As if what was withdrawn had been another model, which is then left out.
        last = {line.model_version: line.sequence for line in log if line.action == "withdraw"}
        others = [
            line.model_copy(update={"model_version": line.model_version + 100})
            if line.sequence < last.get(line.model_version, 0)
            else line
            for line in log
            if line.action != "withdraw"
        ]
        left = [line.model_version for line in not_withdrawn(others, day) if line.model_version < 100]
        versions = [line.model_version for line in standing]
        assert versions == [version for at, version in enumerate(left) if at == 0 or left[at - 1] != version]
        assert champion_on(log, day) == (standing[-1] if standing else None)
        assert previous(log, day) == (standing[-2] if len(standing) > 1 else None)
        assert all(one != other for one, other in pairwise(versions))
    gone = withdrawals(log)
    assert not gone.keys() & {line.model_version for line in not_withdrawn(log)}
