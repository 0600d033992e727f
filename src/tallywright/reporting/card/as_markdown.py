"""A card as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallywright.markdown import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallywright.reporting.card.content import CardSection, CardTable, ModelCard


def as_markdown(card: ModelCard) -> str:
    """The whole card, which ends with a line break."""
    parts = [f"# {escaped(card.title)}", f"**{escaped(card.state)}**: {escaped(card.headline)}"]
    for section in card.sections:
        parts += _section(section)
    return "\n\n".join([*parts, f"*{escaped(card.known)}*"]) + "\n"


def _section(section: CardSection) -> Iterator[str]:
    yield f"## {escaped(section.title)}"
    if section.is_empty:
        yield escaped(section.nothing)
    yield from map(escaped, section.paragraphs)
    if section.facts:
        yield "\n".join(f"- {escaped(name)}: {escaped(value)}" for name, value in section.facts)
    yield from map(_table, section.tables)


def _table(table: CardTable) -> str:
    rows = [_row(table.columns), "|" + "---|" * len(table.columns), *map(_row, table.rows)]
    return f"{escaped(table.caption)}\n\n" + "\n".join(rows)


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(map(escaped, cells))} |"
