"""The card of a version through the command line: as it is attached to the version, and as it is asked for."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tallywright.registry.cards import CARD_TAG, CardFiles

pytestmark = pytest.mark.slow


def attached(root: Path, version: int = 1) -> CardFiles:
    """The card in the artifacts of the version's run."""
    found = {
        file.suffix: file.read_text("utf-8") for file in root.glob(f".tally/mlartifacts/**/card/version_{version}.*")
    }
    return CardFiles(markdown=found[".md"], html=found[".html"])


def tag(root: Path, version: int = 1) -> str:
    with closing(sqlite3.connect(root / ".tally/mlflow.db")) as store:
        rows = store.execute(
            "SELECT value FROM model_version_tags WHERE key = ? AND version = ?", (CARD_TAG, version)
        ).fetchall()
    return rows[0][0]


@pytest.mark.long
def test_a_version_has_its_card_and_each_entry_of_the_log_renews_it(copy) -> None:
    world = copy()
    first = attached(world.root)
    assert tag(world.root) == first.digest
    assert "**champion**: Champion from 2025-04-01." in first.markdown
    assert "no day that it has scored has mature labels yet" in first.markdown

    world.tally("withdraw", world.model, "1", "--reason", "wrong <b>labels</b>", "--by", "a person")
    now = attached(world.root)
    assert tag(world.root) == now.digest != first.digest
    assert r"wrong \<b\>labels\</b\>" in now.markdown
    assert "wrong &lt;b&gt;labels&lt;/b&gt;" in now.html
    file = world.root / "card.html"
    told = world.tally("card", world.model, "1", "--output", str(file), "--json").json
    assert told == {"card": str(file), "state": "withdrawn"}
    assert file.read_text("utf-8") == now.html
