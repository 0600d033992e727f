"""Approvals and rejections: whose they are, what they are good for, and that nothing else is."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallywright.data.delta.lake import Lake
from tallywright.errors import GateRefusedError, UsageError
from tallywright.records import Verdict
from tallywright.registry.approval.answers import AnswerRequest, keys_of, record_answer, standing_answer
from tallywright.registry.approval.approvals import approval_in, with_approval
from tallywright.registry.evidence import evidence_of
from tallywright.registry.promotion_chain import sealed
from tallywright.registry.promotion_log import PromotionLog, champion_on
from tallywright.registry.transitions import promote
from tallywright.registry.versions_table import TrainedBy, record_version
from tallywright.spec import load_project
from tallywright.spec.demands import committed_demands

from .conftest import DAY, MODEL_YAML, NOW, decision, reference, report

AUTHOR = "carl"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ann", "bob", "carl", "mallory"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
        subprocess.run(command, check=True)
    return folder


class Desk:
    """A model whose versions were trained by `carl`, and what people do about them."""

    def __init__(self, root, keys, *, registry="approval: person", first_line="") -> None:
        named = ", ".join(f"{name}: '{(keys / f'{name}.pub').read_text().strip()}'" for name in ("ann", "bob", "carl"))
        (root / "models/toy").mkdir(parents=True, exist_ok=True)
        (root / "conf").mkdir(exist_ok=True)
        (root / "conf/local.yaml").write_text("{}\n")
        section = f"registry: {{{registry}, approver_keys: {{{named}}}}}\n"
        (root / "models/toy/model.yaml").write_text(first_line + MODEL_YAML + section)
        self.project = load_project("toy", root=root, environment="local")
        self.lake, self.keys = Lake.of(self.project.environment), keys
        self.demands = committed_demands(self.project.committed)
        for version in (1, 2):
            reports = decision(reference(version)).reports
            origin = TrainedBy(author=AUTHOR, recorded_by="service")
            evidence = evidence_of("toy", reference(version).digest, reports)
            record_version(
                self.lake, self.project.spec, reference(version), evidence, recorded_at=NOW, trained_by=origin
            )

    def answer(self, answer, who, version=1, *, reason="as agreed", reports=None, key="", **options):
        ref = reference(version)
        request = AnswerRequest(
            ref=ref, reports=decision(ref).reports if reports is None else reports, answer=answer, by=who,
            reason=reason, recorded_at=NOW, recorded_by=options.pop("recorded_by", who),
            key=self.keys / (key or who), **options,
        )  # fmt: skip
        return record_answer(self.project, self.lake, self.demands, request)

    def entries(self):
        return PromotionLog(self.lake, self.project.spec).entries()

    def promote(self, version=1, *, by="ann", day=DAY, reason="go", reports=None, entries=None, **changes):
        """As the step does: by an approval that stands in the log, where there is one; `entries` are what it saw."""
        ref = reference(version)
        said = {"approver": by, "reason": reason} | ({} if reports is None else {"reports": reports}) | changes
        with pytest.MonkeyPatch.context() as patched:
            if entries is not None:
                patched.setattr(PromotionLog, "entries", lambda _: entries)
            made = with_approval(self.project, self.lake, decision(ref, **said), day, self.demands)
        return promote(
            self.project, self.lake, made, ref, effective_from=day, recorded_at=NOW, demands=self.demands,
            recorded_by="dora",
        )  # fmt: skip


@pytest.fixture
def desk(tmp_path, keys):
    return Desk(tmp_path, keys)


def test_an_approval_is_an_entry_that_makes_nobody_champion_and_lets_others_promote(desk):
    with pytest.raises(GateRefusedError, match="nobody knows that 'ann' approves"):
        desk.promote()
    entry, written = desk.answer("approve", "ann")
    assert (written, entry.action, entry.sequence, entry.approver) == (True, "approve", 1, "ann")
    assert entry.authentication.startswith("key SHA256:")
    assert champion_on(desk.entries(), None) is None
    line = desk.promote()
    assert (line.sequence, line.approver, line.recorded_by) == (2, "ann", "dora")
    assert line.authentication == f"line 1: {entry.authentication}"
    assert json.loads(line.decision_json)["answer"] == 1
    assert PromotionLog(desk.lake, desk.project.spec).problems() == []


def test_the_same_answer_is_one_entry(desk):
    first, _ = desk.answer("approve", "ann")
    assert desk.answer("approve", "ann") == (first, False)
    assert desk.answer("approve", "ann", reason="looked once more")[1]
    assert desk.answer("approve", "ann", reason="looked once more", effective_from=DAY)[1]


@pytest.mark.parametrize(
    ("who", "key", "said"),
    [
        ("mallory", "mallory", "'mallory' may not approve"),
        ("", "mallory", "nobody is known"),
        ("ann", "mallory", "not by the key"),
        ("ann", "bob", "not by the key"),
    ],
)
def test_a_stranger_and_anothers_key_are_refused_and_leave_nothing(desk, who, key, said):
    for answer in ("approve", "reject"):
        with pytest.raises(GateRefusedError, match=said.replace("approve", answer)):
            desk.answer(answer, who, key=key)
    assert desk.entries() == []


def test_without_a_key_nobody_answers(desk):
    request = AnswerRequest(reference(1), decision(reference(1)).reports, "approve", "ann", "yes", NOW, "ann")
    with pytest.raises(GateRefusedError, match="'ann' may not approve"):
        record_answer(desk.project, desk.lake, desk.demands, request)
    with pytest.raises(UsageError, match="without a reason"):
        record_answer(desk.project, desk.lake, desk.demands, replace(request, reason="  "))
    assert desk.entries() == []


def test_a_key_counts_only_for_those_whom_the_spec_lets_approve(tmp_path, keys):
    desk = Desk(tmp_path, keys, registry="approval: person, approvers: [ann]")
    with pytest.raises(GateRefusedError, match="'bob' may not approve"):
        desk.answer("approve", "bob")
    assert desk.answer("approve", "ann")[1]


@pytest.mark.parametrize("registry", ["approval: person", "approval: policy"])
def test_a_rejection_holds_until_an_approver_approves_since(tmp_path, keys, registry):
    desk = Desk(tmp_path, keys, registry=registry)
    desk.answer("approve", "ann")
    desk.answer("reject", "bob", reason="slices look odd")
    for by in ("ann", "policy of toy", "carl"):
        with pytest.raises(GateRefusedError, match=r"rejected by bob in line 2|nobody knows"):
            desk.promote(by=by)
    # Somebody whom Airflow knows, and whom the spec does not name, changes nothing.
    with pytest.raises(GateRefusedError, match="rejected by bob in line 2 of the log: slices look odd"):
        desk.promote(by="mallory", authentication="airflow")
    assert desk.promote(version=2, by="ann", authentication="airflow").model_version == 2
    desk.answer("approve", "ann", reason="they are as they should be")
    with pytest.raises(GateRefusedError, match="out of date"):
        desk.promote()  # version 2 is champion now, and the gates judged version 1 against nobody


def test_somebody_whom_airflow_knows_promotes_what_an_approver_has_approved(tmp_path, keys):
    desk = Desk(tmp_path, keys, registry="approval: person, approvers: [ann]")
    with pytest.raises(GateRefusedError, match="'dora' may not approve"):
        desk.promote(by="dora", authentication="airflow")
    approval, _ = desk.answer("approve", "ann")
    line = desk.promote(by="dora", authentication="airflow")
    assert line.approver == "ann"
    assert line.authentication == f"line 1: {approval.authentication}; asked for by dora (airflow)"


def test_a_rejected_version_is_promoted_by_a_newer_approval(desk):
    desk.answer("reject", "ann")
    desk.answer("approve", "bob", reason="after all")
    assert desk.promote(by="bob").sequence == 3


def test_an_answer_that_comes_between_look_and_write_counts(desk):
    """Between the look at the approval and the entry that rests on it, somebody rejects the version."""
    desk.answer("approve", "ann")
    seen = desk.entries()
    desk.answer("reject", "bob")
    with pytest.raises(GateRefusedError, match="rejected by bob"):
        desk.promote(entries=seen)
    desk.answer("approve", "bob", reason="after all")
    with pytest.raises(GateRefusedError, match="followed by another answer in line 3"):
        desk.promote(entries=seen)


def test_an_approval_is_about_the_reports_and_the_day_that_it_names(desk):
    desk.answer("approve", "ann", effective_from=DAY)
    with pytest.raises(GateRefusedError, match="is about another effective_from"):
        desk.promote(day=DAY + timedelta(days=1))
    others = (report(reference(1), "quality"), report(reference(1), "operations", Verdict.WARN))
    with pytest.raises(GateRefusedError, match="is about another reports"):
        desk.promote(reports=others)
    with pytest.raises(GateRefusedError, match="nobody knows that 'ann'"):
        desk.promote(version=2)
    assert desk.promote().sequence == 2


REPLAYED = {
    "model_version": st.integers(2, 9),
    "package_digest": st.integers(2, 9).map(lambda number: f"{number:064x}"),
    "effective_from": st.dates(DAY + timedelta(days=1), DAY + timedelta(days=99)),
    "approver": st.sampled_from(["bob", "carl"]),
    "reason": st.text(max_size=9),
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(changed=st.fixed_dictionaries({}, optional=REPLAYED))
def test_a_signed_answer_is_good_for_nothing_else(desk, changed):
    """Whoever may write the lake copies an approval, says something else around it, and computes sound digests."""
    if not desk.entries():
        desk.answer("approve", "ann", effective_from=DAY)
    entries = desk.entries()
    copied = entries[0].model_copy(update={"sequence": 2, "request": ""} | changed)
    copied = sealed(copied, entries)
    log = [*entries, copied]
    about = decision(
        reference(copied.model_version),
        candidate_digest=copied.package_digest,
        reports=decision(reference(1)).reports,
        approver=copied.approver,
    )
    standing = standing_answer(log, copied.model_version, copied.package_digest)
    assert standing == copied
    keys = keys_of(desk.demands.registry, desk.project.committed.registry)
    with pytest.raises(GateRefusedError, match=r"is about another .*after"):
        approval_in(log, about, copied.effective_from, keys)


def test_an_approval_that_is_replayed_after_a_rejection_is_none(desk):
    desk.answer("approve", "ann")
    desk.answer("reject", "bob")
    first = desk.entries()[0]
    PromotionLog(desk.lake, desk.project.spec).append(lambda _: first)
    with pytest.raises(GateRefusedError, match="is about another after"):
        desk.promote()


def test_an_answer_whose_text_was_changed_with_its_signature_is_none(desk):
    entry, _ = desk.answer("approve", "ann", effective_from=DAY)
    for damaged in ("", "{}", "null", '{"answer": {}, "signature": ""}'):
        log = [entry.model_copy(update={"answer_json": damaged})]
        with pytest.raises(GateRefusedError, match="cannot be read"):
            desk.promote(entries=log)
    told = json.loads(entry.answer_json)
    forged = json.dumps(told | {"answer": told["answer"] | {"effective_from": ""}})
    with pytest.raises(GateRefusedError, match="not by the key"):
        desk.promote(entries=[entry.model_copy(update={"answer_json": forged})], day=DAY + timedelta(days=3))


def test_the_author_of_a_training_approves_only_where_the_files_say_so(tmp_path, keys):
    old = Desk(tmp_path / "old", keys)
    assert old.answer("approve", "carl")[1], "a spec of before means what it meant"
    desk = Desk(tmp_path / "new", keys, first_line="spec_version: 2\n")
    with pytest.raises(GateRefusedError, match="version 1: carl is its author"):
        desk.answer("approve", "carl")
    with pytest.raises(GateRefusedError, match="carl is its author"):
        desk.promote(by="Carl", authentication="airflow")
    # By somebody else's key, in the author's own session.
    with pytest.raises(GateRefusedError, match="service is its author"):
        desk.answer("approve", "ann", recorded_by="service")
    assert desk.answer("reject", "carl")[1], "the author may stop their own"
    assert desk.answer("approve", "ann")[1]
    assert desk.promote().approver == "ann"


def test_an_unknown_author_is_no_other_than_the_approver(tmp_path, keys):
    desk = Desk(tmp_path, keys, first_line="spec_version: 2\n")
    with pytest.raises(GateRefusedError, match="nobody has recorded who trained version 3"):
        desk.answer("approve", "ann", 3)


def test_who_registers_a_version_once_more_does_not_become_its_author(desk):
    reports = decision(reference(1)).reports
    again = TrainedBy(author="mallory", recorded_by="mallory")
    written = record_version(
        desk.lake,
        desk.project.spec,
        reference(1),
        evidence_of("toy", reference(1).digest, reports),
        recorded_at=NOW,
        trained_by=again,
    )
    assert not written


def test_silence_is_no_approval(desk):
    for by in ("", "ann", "policy of toy"):
        with pytest.raises(GateRefusedError):
            desk.promote(by=by)
    assert desk.entries() == []
