"""Keeps the small tables of a model small by the way, between two runs of the maintain pipeline."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tallywright.data.delta.lake import MANY_FILES
from tallywright.data.upkeep.compaction import compact_tiers
from tallywright.data.upkeep.maintenance import vacuum
from tallywright.errors import TallyError
from tallywright.observability import log

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallywright.data.delta.lake import Lake
    from tallywright.spec import ModelSpec


def model_tables(spec: ModelSpec, lake: Lake) -> list[str]:
    """The names of the model's tables."""
    return tables_of(spec, lake.tables())


def tables_of(spec: ModelSpec, names: Iterable[str]) -> list[str]:
    """Those of these names that belong to the model."""
    return [name for name in names if spec.has_table(name)]


def keep_small(lake: Lake, table: str, *, retention: timedelta, now: datetime) -> None:
    """Compacts a table without dates that has become many files, and deletes what left it before the retention.

    What cannot be done is a warning: a later write, or maintenance, does it.
    """
    try:
        done = compact_tiers(lake, table, width=MANY_FILES)
        created = lake.look(table).metadata().created_time or 0
        if done.files and now - datetime.fromtimestamp(created / 1000, UTC) > retention:
            vacuum(lake.open(table), retention, [])
    except TallyError as error:
        log.warning("%s is left as it is, until maintenance: %s", table, error)
