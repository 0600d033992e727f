"""Which dates were scored: by tallies, whatever happened to their rows and whoever else wrote some."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa
from deltalake import write_deltalake
from synthetic import DAY

from tallywright.records import Manifest
from tallywright.scoring.commit.manifests import scored_dates

NEXT = DAY + timedelta(days=1)


def test_nothing_was_scored_where_there_is_no_table(shop) -> None:
    assert scored_dates(shop.lake, shop.spec) == set()


def test_a_date_is_scored_by_its_tally_alone(shop) -> None:
    shop.score(shop.put())
    shop.score(shop.put(day=NEXT))
    foreign = shop.lake.read("shop__scores", where={"score_date": NEXT})
    day = pa.array([NEXT + timedelta(days=1)] * foreign.num_rows, pa.date32())
    place = foreign.schema.get_field_index("score_date")
    scores = shop.lake.open("shop__scores")
    write_deltalake(scores, foreign.set_column(place, "score_date", day), mode="append")
    shop.lake.open("shop__scores").delete(f"score_date = '{DAY}'")
    assert scored_dates(shop.lake, shop.spec) == {DAY, NEXT}


def test_a_tally_that_only_the_log_has_counts(shop) -> None:
    shop.score(shop.put())
    shop.score(shop.put(day=NEXT))
    shop.lake.open("shop__tallies").delete(f"score_date = '{DAY}'")
    assert scored_dates(shop.lake, shop.spec) == {DAY, NEXT}


def test_no_manifest_is_read_to_know_the_dates(shop, monkeypatch) -> None:
    shop.score(shop.put())
    shop.score(shop.put(day=NEXT))
    read = []
    monkeypatch.setattr(Manifest, "from_json", read.append)
    assert scored_dates(shop.lake, shop.spec) == {DAY, NEXT}
    assert read == []
