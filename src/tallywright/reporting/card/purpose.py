"""What people say of a model: its purpose, its owner, where not to use it; by the spec as it stands."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tallywright.reporting.card.content import NOT_RECORDED, CardSection, check_table, facts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallywright.records import Check
    from tallywright.reporting.card.known import KnownVersion

_SAID: Final = ("intended_use", "out_of_scope", "ethical_considerations")
_NOT_SAID: Final = "nobody has said so: card.{} in model.yaml"


def purpose(known: KnownVersion) -> CardSection:
    """What it is for, and for whom."""
    card, spec = known.spec.card, known.spec
    return CardSection(
        "purpose",
        "Purpose",
        paragraphs=tuple(_paragraphs(card.purpose or spec.description)),
        facts=(
            *((name.replace("_", " "), _said(known, name)) for name in _SAID),
            *facts(("task", spec.training.task), ("predicts", spec.training.target), ("tags", spec.tags or None)),
        ),
    )


def owner(known: KnownVersion) -> CardSection:
    """Who answers for it now, and who did when it was trained."""
    now = f"{known.spec.owner.name} <{known.spec.owner.email}>"
    return CardSection(
        "owner",
        "Owner",
        facts=facts(
            ("owner", now),
            ("owner when it was trained", known.metadata("owner")),
            ("contact", known.spec.card.contact or known.spec.owner.email),
            ("trained by", known.row.author),
        ),
    )


def limits(known: KnownVersion) -> CardSection:
    """Where people say that it is weak, and what its gates have warned about."""
    return CardSection(
        "limits",
        "Limits",
        paragraphs=tuple(_paragraphs(known.spec.card.limits)) or (_NOT_SAID.format("limits"),),
        facts=facts(
            ("data seen through", _seen_through(known)),
            ("fitted on rows through", known.metadata("fitted_through")),
        ),
        tables=check_table("What its gates have not seen pass", list(_not_passed(known))),
    )


def _said(known: KnownVersion, name: str) -> str:
    return " ".join(_paragraphs(getattr(known.spec.card, name))) or _NOT_SAID.format(name)


def _paragraphs(text: str) -> Iterator[str]:
    for part in re.split(r"\n\s*\n", text):
        if part.strip():
            yield " ".join(part.split())


def _seen_through(known: KnownVersion) -> str:
    through = known.row.trained_through
    return NOT_RECORDED if through is None else f"{through}: it scores later dates alone"


def _not_passed(known: KnownVersion) -> Iterator[Check]:
    for gate, report in sorted(known.reports.items()):
        for check in report.checks:
            if not check.goes_through:
                yield check.model_copy(update={"name": f"{gate}: {check.name}"})
