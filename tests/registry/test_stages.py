"""Who is the challenger of a date: stages, returns, withdrawals and champions in the promotion log."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tallywright.records import Promotion, Role
from tallywright.registry.promotion_log import PromotionLog, champion_on
from tallywright.registry.resolve import resolution
from tallywright.registry.stages import StageTerms, stage_on, staged_scoring, terms_of
from tallywright.spec.sections import CanaryLimits, Scoring

from .conftest import DAY, decision, reference

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def terms(number: int = 1, share: float = 0.0, champion: int = 1) -> StageTerms:
    role = Role.CANARY if share else Role.SHADOW
    return StageTerms(number=number, of=3, role=role, share=share, days=6, metric="roc_auc", level=0.05,
                      limits=CanaryLimits(max_mean_difference=0.5), champion=champion)  # fmt: skip


def line(sequence: int, action: str, version: int, effective: int, stage: StageTerms | None = None) -> Promotion:
    ref = reference(version)
    return Promotion(
        model="toy",
        sequence=sequence,
        action=action,
        model_version=version,
        package_digest=ref.digest,
        trained_through=ref.trained_through or DAY,
        effective_from=on(effective),
        recorded_at=NOW,
        approver="rollout",
        reason=f"line {sequence}",
        stage_json="" if stage is None else stage.to_json(),
        decision_json=decision(ref).to_json() if action in {"promote", "rollback"} else "",
    )


def on(offset: int) -> date:
    return DAY + timedelta(days=offset)


LIFE = [
    line(1, "promote", 1, 0),
    line(2, "stage", 2, 10, terms(1)),
    line(3, "stage", 2, 20, terms(2, 0.1)),
    line(4, "stage", 2, 30, terms(3, 0.5)),
]


def named(entries: list[Promotion], offset: int) -> str:
    found = stage_on(entries, on(offset))
    return "" if found is None else f"{found.model_version}: {terms_of(found).named}"


def test_a_stage_holds_until_the_next_one() -> None:
    assert [named(LIFE, offset) for offset in (9, 10, 19, 20, 29, 30, 99)] == [
        "", "2: shadow (1 of 3)", "2: shadow (1 of 3)", "2: canary 0.1 (2 of 3)", "2: canary 0.1 (2 of 3)",
        "2: canary 0.5 (3 of 3)", "2: canary 0.5 (3 of 3)",
    ]  # fmt: skip


def test_a_return_ends_it_and_revives_nobody() -> None:
    other = [*LIFE, line(5, "stage", 3, 40, terms(1)), line(6, "return", 3, 45)]
    assert [named(other, offset) for offset in (39, 40, 44, 45, 60)] == [
        "2: canary 0.5 (3 of 3)", "3: shadow (1 of 3)", "3: shadow (1 of 3)", "", ""
    ]  # fmt: skip
    # A return of somebody else says nothing about it.
    assert named([*LIFE, line(5, "return", 9, 35)], 36) == "2: canary 0.5 (3 of 3)"


def test_its_promotion_ends_it_and_so_does_another_champion() -> None:
    for version in (2, 3):
        assert [named([*LIFE, line(5, "promote", version, 40)], offset) for offset in (39, 40)] == [
            "2: canary 0.5 (3 of 3)", ""
        ]  # fmt: skip
    # A champion of dates before the stage that is recorded later takes away what it is held against.
    assert named([*LIFE, line(5, "promote", 3, 5)], 12) == ""
    # It does not come back with the champion that it was held against, whatever the dates of both entries.
    assert named([*LIFE, line(5, "promote", 3, 5), line(6, "rollback", 1, 7)], 50) == ""
    assert named([*LIFE, line(5, "promote", 3, 40), line(6, "rollback", 1, 42)], 50) == ""


def test_a_withdrawal_ends_it_on_all_dates_until_it_is_begun_again() -> None:
    gone = [*LIFE, line(5, "withdraw", 2, -29)]
    assert [named(gone, offset) for offset in (12, 22, 35)] == ["", "", ""]
    assert named([*gone, line(6, "stage", 2, 40, terms(1))], 41) == "2: shadow (1 of 3)"
    assert named([*LIFE, line(5, "withdraw", 3, -29)], 35) == "2: canary 0.5 (3 of 3)"


def test_the_share_of_a_canary_is_a_part_of_the_days_identity() -> None:
    scoring = Scoring()
    assert staged_scoring(scoring, stage_on(LIFE, on(12))) is scoring
    tenth, half = (staged_scoring(scoring, stage_on(LIFE, on(offset))) for offset in (22, 32))
    assert tenth.canary is not None
    assert (tenth.canary.share, tenth.canary.limits.max_mean_difference) == (0.1, 0.5)
    assert len({one.identity().current for one in (scoring, tenth, half)}) == 3
    given_by_hand = Scoring.model_validate(
        {"canary": {"model": 7, "share": 0.1, "limits": {"max_mean_difference": 0.5}}}
    )
    assert tenth.identity() == given_by_hand.identity()


def test_a_day_is_resolved_by_the_stage_of_its_date(project, lake) -> None:
    log = PromotionLog(lake, project.spec)
    for entry in LIFE:
        log.append(lambda _, entry=entry: entry)
    assert not log.problems()
    found = {offset: resolution(lake, project.spec, on(offset)) for offset in (5, 12, 22, 32)}
    assert {offset: [(ref.role.value, ref.version) for ref in one.models] for offset, one in found.items()} == {
        5: [("champion", 1)],
        12: [("champion", 1), ("shadow", 2)],
        22: [("champion", 1), ("canary", 2)],
        32: [("champion", 1), ("canary", 2)],
    }
    assert [one.scoring.canary.share if one.scoring.canary else 0 for one in found.values()] == [0, 0, 0.1, 0.5]
    assert found[12].scoring is project.spec.scoring


def test_a_spec_that_names_a_shadow_keeps_it_beside_the_challenger(project, lake) -> None:
    log = PromotionLog(lake, project.spec)
    for entry in (*LIFE[:2], line(3, "promote", 2, 50)):
        log.append(lambda _, entry=entry: entry)
    spec = project.spec.model_copy(update={"scoring": Scoring.model_validate({"shadow": [1, 2]})})
    assert [(ref.role.value, ref.version) for ref in resolution(lake, spec, on(12)).models] == [
        ("champion", 1), ("shadow", 2), ("shadow", 1)
    ]  # fmt: skip


ACTIONS = st.tuples(
    st.sampled_from(["promote", "rollback", "withdraw", "stage", "return", "approve", "reject"]),
    st.integers(1, 4),
    st.integers(1, 4),
)
"""Action, version, and how many days after all before it the entry begins to hold."""


@given(st.lists(ACTIONS, min_size=1, max_size=14), st.integers(0, 14), st.integers(0, 60))
def test_what_is_recorded_for_dates_to_come_changes_no_date_of_before(items, known, offset) -> None:
    """As the step writes them: effective after every date that was scored when they were recorded."""
    entries, effective = [line(1, "promote", 1, 0)], 0
    for action, version, wait in items:
        effective += wait
        champion = champion_on(entries, on(effective))
        stage = terms(champion=champion.model_version if champion else 1) if action == "stage" else None
        # A withdrawal is the one entry that looks back: it voids what its version was, on all dates.
        if action != "withdraw":
            entries.append(line(len(entries) + 1, action, version, effective, stage))
    then, later = entries[: known + 1], entries[known + 1 :]
    day = on(min([offset, *((entry.effective_from - DAY).days - 1 for entry in later)]))
    assert stage_on(then, day) == stage_on(entries, day)
    assert champion_on(then, day) == champion_on(entries, day)
