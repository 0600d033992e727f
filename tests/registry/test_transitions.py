from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tallywright.data.delta.lake import Lake
from tallywright.errors import GateRefusedError, LeakError, NoChampionError, UsageError
from tallywright.records import JUDGED_AGAINST, JUDGED_BY, NO_CHAMPION, Check, Decision, Promotion, Verdict
from tallywright.registry.promotion_log import PromotionLog, request_of
from tallywright.registry.resolve import as_ref, resolve
from tallywright.registry.transitions import RollbackRequest, promote, repeated, rollback
from tallywright.spec.demands import committed_demands
from tallywright.spec.model import Gates

from .conftest import DAY, NOW, decision, reference, report


def on(offset):
    return DAY + timedelta(days=offset)


@pytest.fixture
def promoted(project, lake):
    """Promotes a version from a day on, as the policy does."""

    def act(version, offset=0, **options):
        ref = options.pop("ref", reference(version))
        champion = PromotionLog(lake, project.spec).champion_on(on(offset)) if lake.tables() else None
        against = as_ref(champion, project.spec) if champion is not None else None
        made = options.pop("decision", decision(ref, against))
        return promote(project, lake, made, ref, effective_from=on(offset), recorded_at=NOW, **options)

    return act


def back(offset, reason="it is wrong", **options):
    return RollbackRequest(effective_from=on(offset), reason=reason, approver="Ada", recorded_at=NOW, **options)


def with_spec(project, models):
    return project.spec.model_copy(update={"scoring": project.spec.scoring.model_copy(update={"models": models})})


def test_a_promotion_carries_its_evidence(promoted, project, lake):
    written = promoted(1)
    assert PromotionLog(lake, project.spec).entries() == [written]
    assert Decision.from_json(written.decision_json) == decision(reference(1))
    assert (written.action, written.approver, written.trained_through) == ("promote", "policy", on(-30))


def test_each_day_has_its_own_champion(promoted, project, lake):
    promoted(1)
    promoted(2, 5)
    as_of = {offset: resolve(lake, project.spec, on(offset))[0].version for offset in (0, 4, 5, 9)}
    assert as_of == {0: 1, 4: 1, 5: 2, 9: 2}
    (ref,) = resolve(lake, project.spec, on(4))
    assert (ref.name, ref.digest, ref.effective_from, ref.trained_through) == ("toy", f"{1:064x}", on(0), on(-30))


def test_current_and_pinned(promoted, project, lake):
    promoted(1)
    promoted(2, 5)
    assert resolve(lake, with_spec(project, "current"), on(0))[0].version == 2
    assert resolve(lake, with_spec(project, "pinned:1"), on(9))[0].version == 1
    with pytest.raises(NoChampionError, match="pins version 3"):
        resolve(lake, with_spec(project, "pinned:3"), on(9))


def test_nobody_is_champion(promoted, project, lake):
    with pytest.raises(NoChampionError, match="ever promoted"):
        resolve(lake, project.spec, DAY)
    promoted(1, 3)
    with pytest.raises(NoChampionError, match="the first one is effective from 2013-06-04"):
        resolve(lake, project.spec, DAY)


def test_repeating_a_promotion_changes_nothing(promoted, project, lake):
    first = promoted(1)
    assert promoted(1) == first
    assert len(PromotionLog(lake, project.spec).entries()) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reports": ()}, "missing reports: operations, quality"),
        ({"reports": (report(reference(1), "quality"),)}, "missing reports: operations"),
        ({"approver": " "}, "nobody answers"),
        ({"candidate_version": 2}, "is about toy version 2"),
        ({"candidate_digest": "0" * 64}, "is about toy version 1"),
        ({"model": "other"}, "is about other"),
        (
            {"reports": (report(reference(1), "quality", Verdict.FAIL), report(reference(1), "operations"))},
            "did not pass: quality fail: roc_auc",
        ),
        (
            {"reports": (report(reference(1), "quality", checks=()), report(reference(1), "operations"))},
            "quality fail: no checks",
        ),
        (
            {"reports": (report(reference(2), "quality"), report(reference(1), "operations"))},
            "about something else: quality",
        ),
    ],
)
def test_nothing_is_promoted_without_evidence_about_it(promoted, project, lake, changes, said):
    with pytest.raises(GateRefusedError) as refused:
        promoted(1, decision=decision(reference(1), **changes))
    assert said in str(refused.value)
    assert lake.tables() == []


@pytest.mark.parametrize("trained_through", [on(0), on(1), None])
def test_a_model_that_has_seen_the_effective_date_is_refused(promoted, lake, trained_through):
    ref = reference(1, trained_through)
    with pytest.raises(LeakError):
        promoted(1, ref=ref, decision=decision(ref))
    assert lake.tables() == []


def test_a_champion_that_was_beaten_does_not_come_back_on_its_old_evidence(promoted, project, lake):
    promoted(1)
    promoted(2, 5)
    with pytest.raises(GateRefusedError, match=r"out of date: it was judged against no champion.*version 2") as refused:
        promoted(1, 8, decision=decision(reference(1)))
    assert "or go back with `tally rollback toy --effective-from 2013-06-09`" in refused.value.remedy
    with pytest.raises(GateRefusedError, match="judged against 0000000000000000"):
        promoted(3, 8, decision=decision(reference(3), reference(1)))
    assert resolve(lake, project.spec, on(8))[0].version == 2
    assert promoted(3, 8).model_version == 3


def test_without_a_champion_there_is_nothing_to_go_back_to(promoted):
    with pytest.raises(GateRefusedError, match="is out of date") as refused:
        promoted(3, 8, decision=decision(reference(3), reference(1)))
    judge = "tally judge toy --version 3 --date 2013-06-09"
    train = "tally train toy --date D --effective-from 2013-06-09"
    assert f"`{judge}`, against no champion, by their floors alone; or train again, `{train}`" in refused.value.remedy
    assert "rollback" not in refused.value.remedy


def test_without_a_champion_the_remedy_makes_one(project, lake):
    with pytest.raises(NoChampionError, match="was ever promoted") as refused:
        resolve(lake, project.spec, on(0))
    assert "`tally train toy --date D`" in refused.value.remedy
    assert "tally promote" not in refused.value.remedy


def test_evidence_by_other_bounds_is_none(promoted, project, lake):
    project.spec.gates.__dict__["min_gain"] = 0.5
    with pytest.raises(GateRefusedError, match="not the spec's section gates") as refused:
        promoted(1)
    # To be judged again by the same champion is what it was already.
    assert "tally judge" not in refused.value.remedy
    assert lake.tables() == []


@pytest.mark.parametrize(
    ("named", "approver", "said"),
    [
        ((), "", "nobody answers"),
        (("Ada",), "mallory", "'mallory' may not approve"),
        (("Ada",), "Ada", ""),
        ((), "Bob", ""),
    ],
)
def test_where_a_person_approves_nobody_else_does(project, lake, named, approver, said):
    spec = with_registry(project.spec, approval="person", approvers=named)
    ref = reference(1)

    def act():
        made = decision(ref, approver=approver, authentication="airflow")
        return promote(replace(project, spec=spec), lake, made, ref, effective_from=DAY, recorded_at=NOW)

    if not said:
        assert (act().approver, act().authentication) == (approver, "airflow")
        return
    with pytest.raises(GateRefusedError, match=said):
        act()
    assert lake.tables() == []


def test_an_earlier_date_than_a_later_line_needs_a_word(promoted, project, lake):
    promoted(1, 0)
    promoted(2, 10)
    with pytest.raises(UsageError, match="version 2 is already recorded as champion from 2013-06-11"):
        promoted(3, 5)
    promoted(3, 5, allow_later_lines=True)
    assert [resolve(lake, project.spec, on(offset))[0].version for offset in (4, 5, 9, 10)] == [1, 3, 3, 2]


def test_a_rollback_brings_the_champion_before_back(promoted, project, lake):
    promoted(1)
    promoted(2, 5)
    line = rollback(project, lake, back(8))
    assert (line.action, line.model_version, line.approver, line.reason) == ("rollback", 1, "Ada", "it is wrong")
    assert [resolve(lake, project.spec, on(offset))[0].version for offset in (4, 7, 8)] == [1, 2, 1]


def test_a_retried_rollback_goes_back_once_another_reason_goes_further(promoted, project, lake, heard):
    for version in (1, 2, 3):
        promoted(version, version)
    first = rollback(project, lake, back(8))
    assert "nothing changed" not in heard.text
    assert rollback(project, lake, back(8)) == first
    assert "version 2 is champion from 2013-06-09 on already; nothing changed" in heard.text
    assert first.model_version == 2
    assert rollback(project, lake, back(8, "this one too")).model_version == 1
    with pytest.raises(NoChampionError, match="version 1 is the first"):
        rollback(project, lake, back(9, "and this one"))


def test_a_rollback_is_refused_without_a_previous_champion(promoted, project, lake):
    with pytest.raises(NoChampionError, match="there is no champion"):
        rollback(project, lake, back(0))
    promoted(1)
    with pytest.raises(NoChampionError, match="version 1 is the first"):
        rollback(project, lake, back(3))


def test_a_rollback_before_a_later_line_needs_a_word(promoted, project, lake):
    promoted(1)
    promoted(2, 2)
    promoted(3, 10)
    with pytest.raises(UsageError, match="already recorded"):
        rollback(project, lake, back(5))
    assert rollback(project, lake, back(5, allow_later_lines=True)).model_version == 1


def test_a_rollback_says_why_and_who(project, lake):
    with pytest.raises(UsageError):
        rollback(project, lake, back(0, reason=" "))


def test_what_was_rolled_back_can_be_promoted_again(promoted, project, lake):
    promoted(1)
    promoted(2, 5)
    rollback(project, lake, back(6))
    again: Promotion = promoted(2, 9)
    assert again.sequence == 4
    assert resolve(lake, project.spec, on(9))[0].version == 2


def test_a_retried_promotion_does_not_undo_a_rollback(promoted, project, lake):
    promoted(1)
    asked = decision(reference(2), reference(1))
    line = promoted(2, 1, decision=asked)
    assert repeated(lake, project.spec, line) == ""
    rollback(project, lake, back(1))
    again = promoted(2, 1, decision=asked)
    assert again == line
    assert [entry.model_version for entry in PromotionLog(lake, project.spec).entries()] == [1, 2, 1]
    told = repeated(lake, project.spec, again)
    assert "this request is line 2 and was withdrawn by line 3" in told
    assert "--reason" in told
    anew = promoted(2, 1, decision=asked.model_copy(update={"reason": "it was repaired"}))
    assert (anew.sequence, resolve(lake, project.spec, on(1))[0].version) == (4, 2)


def test_requests_of_lines_that_name_none_are_known(promoted, project, lake):
    """Lines of the time before have no identity of their request: what they say is it."""
    promoted(1)
    asked = decision(reference(2), reference(1))
    line = promoted(2, 1, decision=asked)
    assert line.request == request_of(line.model_copy(update={"request": ""}))
    rollback(project, lake, back(1))
    stored = lake.read("toy__promotions")
    stored = stored.drop_columns([name for name in ("request", "digest", "evidence") if name in stored.column_names])
    old = Lake(str(project.root / "old"))
    for row in range(stored.num_rows):
        one = stored.slice(row, 1)
        old.replace("toy__promotions", one, slice={"sequence": one["sequence"][0].as_py()})
    promote(project, old, asked, reference(2), effective_from=on(1), recorded_at=NOW)
    rollback(project, old, back(1))
    assert [entry.model_version for entry in PromotionLog(old, project.spec).entries()] == [1, 2, 1]


def test_a_rollback_withdraws_the_champion_that_it_was_asked_about(promoted, project, lake):
    promoted(1)
    promoted(2, 1)
    asked = PromotionLog(lake, project.spec).entries()
    promoted(3, 1)
    with pytest.raises(GateRefusedError, match=r"version 2 was \(line 2\).*line 3 made version 3 champion"):
        rollback(project, lake, back(1, asked=asked))
    assert resolve(lake, project.spec, on(1))[0].version == 3
    assert rollback(project, lake, back(1)).model_version == 2


def test_a_promotion_does_not_undo_what_was_decided_while_it_waited(promoted, project, lake, monkeypatch):
    promoted(1)
    asked = decision(reference(2), reference(1))
    waiting = [
        lambda: (
            promoted(2, 1, decision=asked.model_copy(update={"reason": "other"})),
            rollback(project, lake, back(1)),
        )
    ]
    append = PromotionLog.append

    def late(log, propose):
        if waiting:
            waiting.pop()()
        return append(log, propose)

    monkeypatch.setattr(PromotionLog, "append", late)
    with pytest.raises(GateRefusedError, match="meanwhile line 3 made version 1 champion"):
        promoted(2, 1, decision=asked)
    assert resolve(lake, project.spec, on(1))[0].version == 1


def with_registry(spec, **changes):
    return spec.model_copy(update={"registry": spec.registry.model_copy(update=changes)})


@pytest.mark.parametrize("where", ["the version's spec", "today's files", "a --set of today"])
def test_a_name_that_is_typed_is_no_persons_approval(project, lake, where):
    """Wherever a person is asked for: what is said elsewhere, or later, never asks for less."""
    spec, ref = project.spec, reference(1)
    person = with_registry(spec, approval="person", approvers=("ann",))
    demands = committed_demands(person if where == "the version's spec" else spec)
    today = replace(project, spec=spec, sets=("registry.approval=policy", "registry.approvers=[mallory]"))
    today.__dict__["committed"] = person if where == "today's files" else spec
    if where == "a --set of today":
        today.__dict__["spec"] = person

    def act(by, authentication=""):
        made = decision(ref, approver=by, authentication=authentication)
        return promote(today, lake, made, ref, effective_from=DAY, recorded_at=NOW, demands=demands, recorded_by="root")

    for by, known, said in [
        ("ann", "", "nobody knows that 'ann' approves"),
        ("mallory", "", "nobody knows"),
        ("mallory", "airflow", "'mallory' may not approve"),
        ("", "", "nobody answers"),
    ]:
        with pytest.raises(GateRefusedError, match=said) as refused:
            act(by, known)
        assert refused.value.exit_code == 8
    assert lake.tables() == []
    written = act("ann", "airflow")
    assert (written.approver, written.authentication, written.recorded_by) == ("ann", "airflow", "root")


def test_gates_are_those_of_the_versions_spec_and_todays_may_ask_for_more(project, lake):
    """Evidence by weaker gates is none, whichever spec asks for the stronger ones."""
    ref = reference(1)
    strict = project.spec.model_copy(update={"gates": Gates(floors={"roc_auc": {"min": 0.6}})})

    def act(demanded, today, judged_by):
        checks = (
            Check(name=JUDGED_AGAINST, verdict=Verdict.PASS, observed=NO_CHAMPION),
            Check(name=JUDGED_BY, verdict=Verdict.PASS, observed=judged_by.gates.identity().current),
        )
        reports = (report(ref, "quality", checks=checks), report(ref, "operations"))
        return promote(
            replace(project, spec=today), lake, decision(ref, reports=reports), ref,
            effective_from=DAY, recorded_at=NOW, demands=committed_demands(demanded),
        )  # fmt: skip

    weak = project.spec
    for demanded, today, judged_by in [(strict, weak, weak), (weak, strict, weak), (strict, strict, weak)]:
        with pytest.raises(GateRefusedError, match="out of date"):
            act(demanded, today, judged_by)
    assert lake.tables() == []
    assert act(strict, weak, strict).model_version == 1
