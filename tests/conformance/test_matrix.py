"""The table in the documents names exactly the behaviours that the suite asks for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from matrix import WAYS, behaviour_of

from .conftest import every_way


def asked() -> Iterator[str]:
    """The behaviours of all tests that take a way of scoring."""
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        for node in ast.parse(file.read_text()).body:
            if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
                continue
            if {"bench", "way"} & {argument.arg for argument in node.args.args}:
                cell = behaviour_of(f"tests/conformance/{file.name}::{node.name}[local]")
                assert cell is not None
                yield cell[0]


def test_the_documents_show_every_behaviour(repository: Path) -> None:
    text = (repository / "docs" / "engines.md").read_text().partition("```\nbehaviour")[2].partition("```")[0]
    shown = [line.partition("  ")[0] for line in text.splitlines()[1:] if line]
    assert shown == sorted(set(asked()))


def test_the_columns_are_the_ways_of_scoring() -> None:
    assert {param.id for param in every_way()} == set(WAYS)


def test_a_way_is_not_taken_for_a_longer_one() -> None:
    assert behaviour_of("tests/conformance/test_engines.py::test_one_row[beam-prism]") == ("one row", "beam-prism")
    assert behaviour_of("tests/conformance/test_engines.py::test_one_row[beam-x]") == ("one row", "beam")
    assert behaviour_of("tests/scoring/test_tally.py::test_one_row[local]") is None
