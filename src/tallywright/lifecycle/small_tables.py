"""Keeps the small tables of a model small by the way, between two runs of the maintain pipeline."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from tallywright.errors import TallyError
from tallywright.observability import log

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deltalake import DeltaTable

    from tallywright.data.delta.lake import Lake
    from tallywright.spec import ModelSpec

MOST_FILES: Final = 32
"""Files of about one size that a small table may have before they become one."""


def model_tables(spec: ModelSpec, lake: Lake) -> list[str]:
    """The names of the model's tables."""
    return tables_of(spec, lake.tables())


def tables_of(spec: ModelSpec, names: Iterable[str]) -> list[str]:
    """Those of these names that belong to the model; a table of a model `shop__b` is none of a model `shop`."""
    prefix = spec.table("")
    return [name for name in names if name.startswith(prefix) and "__" not in name.removeprefix(prefix)]


def keep_small(lake: Lake, spec: ModelSpec, *, now: datetime) -> None:
    """Compacts the tables that have become many files, and deletes what left them before the spec's retention.

    Tables by date are left to maintenance: they are large, and old versions of some are kept. What cannot be done is a
    warning: the next call, or maintenance, does it.
    """
    for table in model_tables(spec, lake):
        try:
            handle = lake.look(table)
            if not handle.metadata().partition_columns and len(lake.files(table)) >= MOST_FILES:
                _compact(lake, table, retention=timedelta(days=spec.maintenance.retention_days), age=_age(handle, now))
        except TallyError as error:
            log.warning("%s is left as it is, until maintenance: %s", table, error)


def _compact(lake: Lake, table: str, *, retention: timedelta, age: timedelta) -> None:
    from tallywright.data.upkeep.compaction import compact_tiers
    from tallywright.data.upkeep.maintenance import vacuum

    if compact_tiers(lake, table, width=MOST_FILES).files and age > retention:
        vacuum(lake.open(table), retention, [])


def _age(handle: DeltaTable, now: datetime) -> timedelta:
    created = handle.metadata().created_time
    return now - datetime.fromtimestamp(created / 1000, UTC) if created else timedelta.max
