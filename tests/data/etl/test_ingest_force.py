"""`ingest --force` makes a day whole again, whatever has happened to the tables that hold its input."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from damage import change_rows, delete_rows, flip, remove, truncate
from deltalake import DeltaTable

from tallywright.data.delta.lake import Lake
from tallywright.data.etl.ingest import ingest
from tallywright.data.inputs.versions import input_version
from tallywright.data.upkeep.repair import restore
from tallywright.errors import IntegrityError

FIRST, DAY, LAST = date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 4)


def _files(table: Path, day: date) -> list[Path]:
    return [Path(uri) for uri in DeltaTable(table).file_uris() if f"score_date={day}/" in uri]


def _rows(lake: Lake) -> list[pa.Table]:
    """All that a day of raw rows becomes."""
    orders = {"features": "id", "labels": "id", "quarantine": "raw_row"}
    return [
        lake.read(f"shop__{what}", where={"score_date": DAY}).sort_by(order).combine_chunks()
        for what, order in orders.items()
    ]


def _each_file(way: Callable[[Path], None]) -> Callable[[Path], None]:
    def damage(table: Path) -> None:
        for file in _files(table, DAY) or [Path(uri) for uri in DeltaTable(table).file_uris()]:
            way(file)

    damage.__name__ = way.__name__
    return damage


def _forced(shop) -> IntegrityError | None:
    """Ingests the day again by force; the refusal, where it is one."""
    try:
        ingest(shop.project(), shop.lake, DAY, DAY, force=True)
    except IntegrityError as refusal:
        return refusal
    return None


@pytest.mark.parametrize("what", ["features", "inputs", "labels", "quarantine"])
@pytest.mark.parametrize(
    "damage",
    [_each_file(truncate), change_rows]
    + [pytest.param(one, marks=pytest.mark.long) for one in (_each_file(remove), _each_file(flip), delete_rows)],
    ids=lambda damage: damage.__name__,
)
def test_a_forced_ingest_repairs_the_day(shop, what: str, damage: Callable[[Path], None]) -> None:
    shop.lines[25] = shop.order(25, str(DAY), amount=None)  # a row for the quarantine
    lake, spec = shop.lake, shop.spec()
    ingest(shop.project(), lake, FIRST, LAST)
    before = _rows(lake)
    pinned = input_version(lake, spec, DAY)

    damage(Path(lake.uri(f"shop__{what}")))
    refusal = _forced(shop)
    if what == "inputs" and damage.__name__ in {"truncate", "remove"}:
        assert refusal is not None
    if refusal is not None:
        # Records of many dates stand in one file: what is left of them is brought back first, as the error says. A bit
        # that is another one may make the file unreadable as well.
        assert (what, damage.__name__) in {("inputs", one) for one in ("truncate", "remove", "flip")}
        assert refusal.found.startswith("shop__inputs: the file")
        assert refusal.remedy == "tally verify shop --repair"
        restore(shop.lake, "shop__inputs")
        assert _forced(shop) is None

    assert _rows(shop.lake) == before
    found = input_version(shop.lake, spec, DAY)
    assert (found.fingerprint, found.rows) == (pinned.fingerprint, pinned.rows)
    assert found.version > pinned.version


@pytest.mark.parametrize(
    "damage", [_each_file(truncate), _each_file(remove), change_rows], ids=lambda one: one.__name__
)
def test_until_then_the_day_is_refused(shop, damage: Callable[[Path], None]) -> None:
    ingest(shop.project(), shop.lake, FIRST, LAST)
    damage(Path(shop.lake.uri("shop__features")))
    with pytest.raises(IntegrityError, match=str(DAY)) as caught:
        input_version(shop.lake, shop.spec(), DAY)
    assert caught.value.exit_code == 15
    assert caught.value.remedy == f"tally ingest shop --date {DAY}"
    # The remedy named is enough: what is damaged is never equal content.
    ingest(shop.project(), shop.lake, DAY, DAY)
    assert input_version(shop.lake, shop.spec(), DAY).rows == 10
