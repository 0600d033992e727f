"""`tally card`: the model card of a version, as it is known now."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from tallywright.cli.console import show_record, to_json
from tallywright.cli.options import OUTPUT, VERSION, json_option, project_options
from tallywright.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from tallywright.reporting.card.content import ModelCard
    from tallywright.spec import Project

_FORMS: Final = ("markdown", "html")
_ENDINGS: Final = {".html": "html", ".htm": "html", ".md": "markdown", ".markdown": "markdown"}


@click.command()
@project_options
@click.argument("version", type=VERSION)
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMS),
    help="As what (default: by the ending of --output; printed: markdown).",
)
@click.option("--output", type=OUTPUT, help="The file to write (default: print it).")
@json_option
def card(project: Project, version: int, *, form: str | None, output: Path | None, as_json: bool) -> None:
    """The model card of VERSION: purpose, data, metrics, slices, calibration, checklist, approvals, history."""
    from tallywright.data.delta.lake import Lake
    from tallywright.reporting.card.card import model_card
    from tallywright.reporting.card.files import RENDERERS, write_card

    form = form or _form_of(output)
    found = model_card(project, Lake.of(project.environment), version)
    if output is not None:
        file = write_card(found, form, output)
        show_record({"card": str(file), "state": found.state}, as_json=as_json)
    elif as_json:
        click.echo(to_json(_values(found)))
    else:
        click.echo(RENDERERS[form](found), nl=False)


def _form_of(output: Path | None) -> str:
    """The form that the ending of a file says; Markdown where the card is printed."""
    if output is None:
        return "markdown"
    form = _ENDINGS.get(output.suffix.lower())
    if form is None:
        raise UsageError(
            f"--output {output}: its ending does not say the form of the card",
            expected=f"one of {', '.join(_ENDINGS)}",
            remedy=f"give the file such an ending, or add `--format {_FORMS[0]}` or `--format {_FORMS[1]}`",
        )
    return form


def _values(card: ModelCard) -> dict[str, Any]:
    """The card for programs: facts by name, rows by column."""
    sections = [
        {
            "section": section.anchor,
            "title": section.title,
            "paragraphs": list(section.paragraphs),
            "facts": dict(section.facts),
            "tables": [
                {"caption": table.caption, "rows": [dict(zip(table.columns, row, strict=True)) for row in table.rows]}
                for table in section.tables
            ],
            "reliability": [asdict(tenth) for tenth in section.reliability],
        }
        for section in card.sections
    ]
    return {"title": card.title, "state": card.state, "headline": card.headline, "known": card.known,
            "sections": sections}  # fmt: skip
