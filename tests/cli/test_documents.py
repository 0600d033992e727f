"""Every command line that the documents show can be typed: the commands, options, values and targets exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from tallywright.cli.main import tally

ROOT = Path(__file__).resolve().parent.parent.parent
TEMPLATE = "src/tallywright/cli/project_template/README.md"
DOCUMENTS = [
    path.relative_to(ROOT)
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / TEMPLATE)
    if path.name != "CHANGELOG.md"
]
_BLOCK = re.compile(r"```(?:console|sh|shell|bash)\n(.*?)```", re.DOTALL)


def _lines(document: Path, program: str) -> list[list[str]]:
    """The command lines of a program in a document's blocks, split as a shell does, comments left out."""
    text = (ROOT / document).read_text().replace("{{ name }}", "shop").replace("\\\n", " ")
    blocks = "\n".join(_BLOCK.findall(text))
    shown = (line.strip().removeprefix("$ ") for line in blocks.splitlines())
    return [shlex.split(line, comments=True) for line in shown if line.startswith(f"{program} ")]


SHOWN = [(document, words[1:]) for document in DOCUMENTS for words in _lines(document, "tally")]


@pytest.mark.parametrize(("document", "words"), SHOWN, ids=[f"{path}: {' '.join(words)}" for path, words in SHOWN])
def test_a_shown_command_can_be_typed(document: Path, words: list[str]) -> None:
    context = click.Context(tally, info_name="tally")
    if ">" in words:
        words = words[: words.index(">")]
    name, command, rest = tally.resolve_command(context, words)
    assert command is not None
    command.make_context(name, list(rest), parent=context)


def test_every_make_target_shown_is_there_and_explained() -> None:
    explained = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = "\n".join((ROOT / document).read_text() for document in DOCUMENTS)
    shown = set(re.findall(r"(?:`|\$ )make ([a-z-]+)", text))
    assert {"demo", "test"} <= shown <= explained
