"""What `tally versions` says about challengers: the last stage of each, with its dates."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from tallywright.records import Promotion, Role
from tallywright.registry.stages import StageTerms
from tallywright.reporting.versions import stages_of

DAY = date(2025, 3, 1)


def line(sequence: int, action: str, version: int, offset: int, number: int = 0) -> Promotion:
    terms = StageTerms(number=number, of=2, role=Role.SHADOW, days=6, metric="roc_auc", level=0.05, champion=1)
    return Promotion(
        model="toy", sequence=sequence, action=action, model_version=version, package_digest=f"{version:064x}",
        trained_through=DAY, effective_from=DAY + timedelta(days=offset), recorded_at="2026-01-01T00:00:00Z",
        approver="rollout", reason=f"line {sequence}", stage_json=terms.to_json() if number else "",
    )  # fmt: skip


LIFE = [line(1, "promote", 1, 0), line(2, "stage", 2, 10, 1)]


@pytest.mark.parametrize(
    ("later", "told"),
    [
        ([], {2: "shadow (1 of 2) from 2025-03-11"}),
        ([line(3, "stage", 2, 20, 2)], {2: "shadow (2 of 2) from 2025-03-21"}),
        # A champion of a date to come ends it then, and not before.
        ([line(3, "promote", 3, 50)], {2: "shadow (1 of 2) from 2025-03-11 to 2025-04-19"}),
        ([line(3, "stage", 2, 20, 2), line(4, "promote", 2, 30)], {2: "shadow (2 of 2) from 2025-03-21 to 2025-03-30"}),
        ([line(3, "return", 2, 15)], {2: "returned from 2025-03-16: line 3"}),
        (
            [line(3, "return", 2, 15), line(4, "stage", 3, 20, 1)],
            {2: "returned from 2025-03-16: line 3", 3: "shadow (1 of 2) from 2025-03-21"},
        ),
        ([line(3, "withdraw", 2, 15)], {2: "shadow (1 of 2) from 2025-03-11 to 2025-03-15"}),
        ([line(3, "stage", 3, 20, 1)], {
            2: "shadow (1 of 2) from 2025-03-11 to 2025-03-20", 3: "shadow (1 of 2) from 2025-03-21",
        }),
    ],
)  # fmt: skip
def test_the_last_stage_of_each_challenger_has_its_dates(later: list[Promotion], told: dict[int, str]) -> None:
    assert stages_of([*LIFE, *later]) == told
