from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from tallywright.data.etl.ingest import ingest
from tallywright.data.snapshot import SPLITS, Snapshot, read_split, take_snapshot
from tallywright.errors import InputError

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 5)
AS_OF = date(2024, 1, 6)


def taken(shop, as_of=AS_OF):
    ingest(shop.project(), shop.lake, FIRST, LAST)
    return take_snapshot(shop.project(), shop.lake, as_of)


def test_windows_end_the_day_before(shop):
    snapshot = taken(shop)
    assert (snapshot.train_from, snapshot.train_to) == (date(2024, 1, 2), date(2024, 1, 3))
    assert snapshot.window("validation") == (date(2024, 1, 4),) * 2
    assert snapshot.window("holdout") == (LAST, LAST)
    assert snapshot.rows == {"train": 20, "validation": 10, "holdout": 10}
    assert set(snapshot.coverage.values()) == {1.0}
    assert Snapshot.from_json(snapshot.to_json()) == snapshot


def test_splits_are_sorted_and_disjoint(shop):
    snapshot = taken(shop)
    seen = []
    for split in SPLITS:
        part = read_split(shop.project(), shop.lake, snapshot, split)
        assert part.column_names == ["score_date", "id", "score_moment", "kind", "amount", "bad"]
        rows = list(zip(part["score_date"].to_pylist(), part["id"].to_pylist(), strict=True))
        assert rows == sorted(rows)
        seen += rows
    assert len(set(seen)) == len(seen) == 40


def test_a_label_that_arrived_later_is_not_known(shop):
    # the schedule is New York's: the as-of day begins at 05:00 UTC
    shop.lines[45] = shop.order(45, "2024-01-05", known_at="2024-01-06 04:59:59")
    shop.lines[46] = shop.order(46, "2024-01-05", known_at="2024-01-06 05:00:00")
    shop.lines[47] = shop.order(47, "2024-01-05", outcome=None, known_at=None)
    snapshot = taken(shop)
    assert snapshot.rows["holdout"] == 8
    assert snapshot.coverage["holdout"] == 0.8
    ids = read_split(shop.project(), shop.lake, snapshot, "holdout")["id"].to_pylist()
    assert {"o45", "o46", "o47"} & set(ids) == {"o45"}


def test_a_snapshot_stays_what_it_was(shop):
    snapshot = taken(shop)
    before = [read_split(shop.project(), shop.lake, snapshot, split) for split in SPLITS]
    shop.lines[25] = shop.order(25, "2024-01-03", amount=9.0, outcome=0)
    later = taken(shop)
    assert [read_split(shop.project(), shop.lake, snapshot, split) for split in SPLITS] == before
    assert later.features.version > snapshot.features.version
    assert later.fingerprint != snapshot.fingerprint
    assert taken(shop).fingerprint == later.fingerprint


def test_missing_days_are_named(shop):
    with pytest.raises(InputError, match="there is no shop__features"):
        take_snapshot(shop.project(), shop.lake, AS_OF)
    with pytest.raises(InputError, match="lacks 2 of the 4 days to train on: 2024-01-06, 2024-01-07"):
        taken(shop, date(2024, 1, 8))


def test_days_before_the_schedule_are_not_to_be_ingested(shop):
    with pytest.raises(InputError, match=r"to train on: 2023-12-3") as caught:
        taken(shop, date(2024, 1, 3))
    assert "nothing is ingested before schedule.start_date 2024-01-01" in caught.value.remedy
    assert "window_days or holdout_days" in caught.value.remedy
    assert "ingest 2023" not in caught.value.remedy


def test_no_label_yet(shop):
    moment = datetime(2024, 1, 20, tzinfo=UTC)
    shop.lines[40:] = [shop.order(n, "2024-01-05", known_at=f"{moment:%Y-%m-%d %H:%M:%S}") for n in range(40, 50)]
    with pytest.raises(InputError, match="no labelled rows in the holdout window"):
        taken(shop)
