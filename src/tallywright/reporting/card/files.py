"""A card as files: written for whoever asks, and handed to the lifecycle to be attached to its version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tallywright.errors import StorageError
from tallywright.html_pages import replace_file
from tallywright.registry.cards import CardFiles
from tallywright.reporting.card.as_html import as_html
from tallywright.reporting.card.as_markdown import as_markdown
from tallywright.reporting.card.card import model_card

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tallywright.data.delta.lake import Lake
    from tallywright.reporting.card.content import ModelCard
    from tallywright.spec import Project

RENDERERS: Final[Mapping[str, Callable[[ModelCard], str]]] = {"markdown": as_markdown, "html": as_html}


def card_files(project: Project, lake: Lake, version: int) -> CardFiles:
    """The card of a version as it is known now, in both forms.

    Raises:
        TallyError: As `model_card`.
    """
    card = model_card(project, lake, version)
    return CardFiles(markdown=as_markdown(card), html=as_html(card))


def write_card(card: ModelCard, form: str, file: Path) -> Path:
    """Writes a card, as a whole or not at all, and returns where it stands.

    Raises:
        StorageError: The file cannot be written.
    """
    text = RENDERERS[form](card)
    try:
        if file.exists() and not file.is_file():  # a device or a pipe takes it as it comes
            file.write_text(text, encoding="utf-8")
        else:
            replace_file(file.resolve(), text)
    except OSError as error:
        raise StorageError(
            f"the card {file} cannot be written: {error.strerror}", remedy="choose another place with --output"
        ) from error
    return file.absolute()
