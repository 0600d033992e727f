"""Canary, fallback and shadows of a date: by number or as the challenger, found without MLflow."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tallywright.errors import SpecError
from tallywright.records import Role, Verdict
from tallywright.registry.evidence import evidence_of
from tallywright.registry.resolve import resolve
from tallywright.registry.transitions import promote
from tallywright.registry.versions_table import record_version, recorded_versions
from tallywright.spec.sections import Scoring

from .conftest import DAY, NOW, decision, reference, report


def on(offset):
    return DAY + timedelta(days=offset)


@pytest.fixture
def world(project, lake):
    """Versions 1 and 2 are champions from day 0 and day 5; 3 passed its gates, 4 did not."""
    for version, verdict in ((1, Verdict.PASS), (2, Verdict.PASS), (3, Verdict.WARN), (4, Verdict.FAIL)):
        ref = reference(version)
        reports = (report(ref, "quality", verdict), report(ref, "operations", Verdict.PASS))
        assert record_version(lake, project.spec, ref, evidence_of("shop", ref.digest, reports), recorded_at=NOW)
        if version < 3:
            start = on(5 * (version - 1))
            against = reference(version - 1) if version > 1 else None
            promote(project, lake, decision(ref, against), ref, effective_from=start, recorded_at=NOW)
    return lake


def roles(project, lake, day=DAY, **scoring):
    spec = project.spec.model_copy(update={"scoring": Scoring.model_validate(scoring)})
    return [(ref.role, ref.version) for ref in resolve(lake, spec, day)]


def canary(model):
    return {"canary": {"model": model, "share": 0.1}}


def previous():
    return {"fallback": {"model": "previous", "covers": ["output"]}}


def test_without_roles_there_is_the_champion_alone(project, world):
    assert roles(project, world) == [(Role.CHAMPION, 1)]


def test_numbers_are_taken_exactly(project, world):
    found = roles(project, world, shadow=[4, 2], **canary(3))
    assert found == [(Role.CHAMPION, 1), (Role.CANARY, 3), (Role.SHADOW, 4), (Role.SHADOW, 2)]


def test_the_challenger_is_the_newest_version_that_was_never_champion(project, world):
    found = roles(project, world, shadow=["challenger", 4], **canary("challenger"))
    # Only a shadow may be a version that a gate refused, and that by its number alone.
    assert found == [(Role.CHAMPION, 1), (Role.CANARY, 3), (Role.SHADOW, 3), (Role.SHADOW, 4)]
    ref = reference(3)
    promote(project, world, decision(ref, reference(2)), ref, effective_from=on(9), recorded_at=NOW)
    assert roles(project, world, **canary("challenger")) == [(Role.CHAMPION, 1)]
    assert roles(project, world, shadow=["challenger"]) == [(Role.CHAMPION, 1)]
    undecided = evidence_of("shop", reference(5).digest, (report(reference(5), "quality", Verdict.UNDECIDED),))
    record_version(world, project.spec, reference(5), undecided, recorded_at=NOW)
    assert roles(project, world, shadow=["challenger"]) == [(Role.CHAMPION, 1), (Role.SHADOW, 5)]
    assert roles(project, world, **canary("challenger")) == [(Role.CHAMPION, 1)]


def test_a_version_that_was_never_registered_is_a_mistake_of_the_spec(project, world):
    with pytest.raises(SpecError, match=r"shadow names version 9 of toy, which was never registered") as caught:
        roles(project, world, shadow=[9])
    assert "one of 1, 2, 3, 4" in caught.value.expected


def test_a_canary_whose_gates_did_not_pass_is_refused(project, world):
    with pytest.raises(SpecError, match="version 4 of toy, whose gates did not pass"):
        roles(project, world, **canary(4))


def test_champions_are_known_from_the_promotion_log_too(project, world):
    world.open(project.spec.table("versions")).delete()
    assert roles(project, world, shadow=[2]) == [(Role.CHAMPION, 1), (Role.SHADOW, 2)]


def test_the_previous_champion_is_the_one_of_that_date(project, world):
    assert roles(project, world, on(6), **previous()) == [(Role.CHAMPION, 2), (Role.FALLBACK, 1)]
    assert roles(project, world, on(4), **previous()) == [(Role.CHAMPION, 1)]
    assert roles(project, world, on(4), models="current", **previous()) == [(Role.CHAMPION, 2), (Role.FALLBACK, 1)]


def test_the_constant_is_version_zero_and_another_number_is_another_fallback(project, world):
    def constant(value):
        spec = {"fallback": {"model": "constant", "constant": value, "covers": ["package"]}}
        scoring = Scoring.model_validate(spec)
        return resolve(world, project.spec.model_copy(update={"scoring": scoring}), DAY)[1]

    assert (constant(0.2).version, constant(0.2).role) == (0, Role.FALLBACK)
    assert constant(0.2).digest == constant(0.2).digest != constant(0.3).digest


def test_recording_a_version_again_changes_nothing(project, world):
    table = project.spec.table("versions")
    before = world.open(table).version()
    ref = reference(3)
    reports = (report(ref, "quality", Verdict.WARN), report(ref, "operations", Verdict.PASS))
    evidence = evidence_of("shop", ref.digest, reports)
    assert not record_version(world, project.spec, ref, evidence, recorded_at=NOW + timedelta(days=1))
    assert world.open(table).version() == before
    assert not recorded_versions(world, project.spec)[4].gates_passed
    assert record_version(world, project.spec, reference(4), evidence_of("shop", "d4", reports), recorded_at=NOW)
    assert recorded_versions(world, project.spec)[4].gates_passed


def test_one_gate_alone_is_no_pass(project, lake):
    ref = reference(1)
    evidence = evidence_of("shop", ref.digest, (report(ref, "quality", Verdict.PASS),))
    record_version(lake, project.spec, ref, evidence, recorded_at=NOW)
    assert not recorded_versions(lake, project.spec)[1].gates_passed
