"""The tree of a card, of texts alone: whoever renders it escapes every one of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallywright.gates.quality.reliability import Tenth
    from tallywright.records import Check

NOT_RECORDED: Final = "not recorded"
"""Said of what a version of before, or its package, does not tell."""
NOTHING: Final = "–"


@dataclass(frozen=True, slots=True)
class CardTable:
    """A table of texts, with a caption."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class CardSection:
    """A part of a card.

    Attributes:
        anchor: By which a page links to it.
        title: Its heading.
        paragraphs: Its texts.
        facts: Names with their values.
        tables: Those with rows; `nothing` is said where a section has neither.
        nothing: What is said of an empty section.
        reliability: What is also drawn where there are drawings; the numbers stand in a table.
    """

    anchor: str
    title: str
    paragraphs: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    tables: tuple[CardTable, ...] = ()
    nothing: str = NOT_RECORDED
    reliability: tuple[Tenth, ...] = field(default=(), repr=False)

    @property
    def is_empty(self) -> bool:
        """True where there is nothing to show."""
        return not (self.paragraphs or self.facts or self.tables)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The card of a version.

    Attributes:
        title: The model and the version.
        state: In a word: `champion`, `passed`, `refused` …
        headline: What that means, in a sentence.
        sections: In the order of the card.
        known: Until when what stands here was known.
    """

    title: str
    state: str
    headline: str
    sections: tuple[CardSection, ...]
    known: str


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> tuple[CardTable, ...]:
    """A table, or none where there are no rows."""
    if not rows:
        return ()
    return (CardTable(caption, tuple(columns), tuple(tuple(map(shown, row)) for row in rows)),)


def facts(*pairs: tuple[str, Any]) -> tuple[tuple[str, str], ...]:
    """Names with their values as texts; what is empty was not recorded."""
    return tuple((name, NOT_RECORDED if value is None or value == "" else shown(value)) for name, value in pairs)


def shown(value: Any) -> str:
    """A value as a text."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return str(value) if isinstance(value, str | date) else ", ".join(map(shown, value))


def check_table(
    caption: str, checks: Sequence[Check], *, named: str = "check", prefix: str = ""
) -> tuple[CardTable, ...]:
    """Checks of a gate as they were reported; what their names have in common is left out."""
    return table(
        caption,
        (named, "observed", "bound", "verdict", "evidence"),
        [
            (check.name.removeprefix(prefix), check.observed, check.bound, check.verdict.value, check.evidence)
            for check in checks
        ],
    )
