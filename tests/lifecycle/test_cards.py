"""Whose cards an entry of the promotion log renews, and that the entry stands where a card cannot be made."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest
from decided import decided
from synthetic import make_project

from tallywright.errors import StorageError
from tallywright.lifecycle.cards import attach, follow_entry
from tallywright.lifecycle.context import RunContext
from tallywright.records import Promotion
from tallywright.registry.promotion_log import PromotionLog

if TYPE_CHECKING:
    from pathlib import Path

    from tallywright.registry.cards import CardFiles

DAY = date(2024, 3, 1)


def line(context: RunContext, action: str, version: int) -> Promotion:
    entry = decided(
        Promotion(
            model="shop", sequence=0, action=action, model_version=version, package_digest=f"{version:064x}",
            trained_through=date(2024, 2, 1), effective_from=DAY, recorded_at=datetime(2024, 4, 1, tzinfo=UTC),
            approver="me", reason=f"{action} {version}",
        )
    )  # fmt: skip
    written = PromotionLog(context.lake, context.spec).append(lambda _: entry)
    assert written is not None
    return written


@pytest.fixture
def asked() -> list[int]:
    return []


@pytest.fixture
def context(tmp_path: Path, asked: list[int]) -> RunContext:
    def cannot(_project: object, _lake: object, version: int) -> CardFiles:
        asked.append(version)
        raise StorageError("no card today")

    return RunContext(make_project(tmp_path), DAY, "run", card=cannot)


def test_an_entry_renews_the_cards_of_its_version_and_of_the_champions(context, asked, heard) -> None:
    wanted = [
        ("promote", 1, [1]), ("approve", 2, [2]), ("promote", 2, [2, 1]), ("promote", 3, [3, 2]),
        ("withdraw", 3, [3, 2]), ("rollback", 1, [1, 2]), ("reject", 2, [2]),
    ]  # fmt: skip
    for action, version, expected in wanted:
        asked.clear()
        follow_entry(context, line(context, action, version))
        assert asked == expected, action
    assert "the card of version 2 is not attached anew: no card today" in heard.text
    with pytest.raises(StorageError):
        attach(context, 1)


def test_without_the_read_side_there_are_no_cards(tmp_path: Path) -> None:
    context = RunContext(make_project(tmp_path), DAY, "run")
    follow_entry(context, line(context, "promote", 1))
    attach(context, 1)
