"""What tallies refer to outlives OPTIMIZE and VACUUM, and a day can be scored again from it, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from synthetic import DAY, make_features, read_scores

from tallywright.data.fingerprint import digest
from tallywright.data.upkeep.maintenance import TableReport, TableRules, maintain_table
from tallywright.errors import StorageError
from tallywright.records import Reference
from tallywright.scoring.commit.manifests import latest_manifest, manifests
from tallywright.scoring.day import decide
from tallywright.scoring.references import tally_references
from tallywright.scoring.worker.fragments import plan_splits

NOW = datetime.now(UTC)
LONG = NOW - timedelta(days=400)


@pytest.fixture
def small_parts(monkeypatch) -> None:
    """Several files a day, as a large day has."""
    monkeypatch.setattr("tallywright.data.delta.lake._ROW_GROUP", 50)
    monkeypatch.setattr(
        "tallywright.scoring.prepare.plan_splits",
        lambda paths, **options: plan_splits(paths, target_rows=1, **options),
    )


def rules(keep: list[Reference]) -> TableRules:
    """Everything is small, and what nobody refers to goes at once."""
    kept = {reference.version: frozenset({reference.by}) for reference in keep}
    return TableRules(NOW + timedelta(days=1), timedelta(0), timedelta(0), min_files=2, keep=kept)


def maintain(shop) -> dict[str, TableReport]:
    references = tally_references(shop.lake, shop.spec, LONG)
    return {
        table: maintain_table(shop.lake, table, rules([one for one in references if one.table == table]))
        for table in shop.lake.tables()
    }


def bits(rows: pa.Table) -> tuple[int, str]:
    return rows.num_rows, digest(rows, rows.column_names).hex


def test_every_generation_refers_to_the_input_it_read(shop) -> None:
    assert tally_references(shop.lake, shop.spec, LONG) == []
    pinned = [shop.put(seed=1), shop.put(seed=2), shop.put(seed=3, day=DAY + timedelta(days=1))]
    for source in pinned:
        shop.score(source)
    found = tally_references(shop.lake, shop.spec, LONG)
    assert [(one.table, one.version, one.by) for one in found] == [
        ("shop__features", source.version, "tally") for source in pinned
    ]
    shop.lake.open("shop__tallies").delete()
    assert tally_references(shop.lake, shop.spec, LONG) == found
    assert tally_references(shop.lake, shop.spec, NOW + timedelta(days=1)) == []


@pytest.mark.usefixtures("small_parts")
def test_a_pinned_input_is_scored_again_after_everything_else_is_gone(shop) -> None:
    first = shop.put(seed=1)
    shop.score(first)
    before = read_scores(shop.lake, shop.spec)
    unscored = shop.put(seed=2)
    second = shop.put(310, seed=3)
    shop.score(second)
    reports = maintain(shop)
    assert reports["shop__scores"].deleted >= reports["shop__scores"].compacted > 1
    assert reports["shop__features"].deleted == 1
    assert reports["shop__features"].kept == {"tally": f"{first.version}, {second.version}"}
    with pytest.raises(StorageError):
        shop.lake.read("shop__features", version=unscored.version)
    assert bits(shop.lake.read("shop__features", version=first.version)) == bits(
        _dated(shop, make_features(300, seed=1))
    )

    again = shop.score(first, force=True, override="the newer input is wrong")
    assert again.manifest.generation == 3
    assert bits(read_scores(shop.lake, shop.spec)) == bits(before)


def _dated(shop, features: pa.Table) -> pa.Table:
    columns = shop.lake.read("shop__features").column_names
    return features.append_column("score_date", pa.array([DAY] * features.num_rows, pa.date32())).select(columns)


@pytest.mark.usefixtures("small_parts")
def test_maintenance_changes_no_tally_and_causes_no_scoring(shop) -> None:
    pinned = [shop.put(seed=day, day=DAY + timedelta(days=day)) for day in range(3)]
    for source in pinned:
        shop.score(source)
    rows = [bits(read_scores(shop.lake, shop.spec, source.score_date)) for source in pinned]
    known = manifests(shop.lake, shop.spec)
    profile = shop.lake.read("shop__profile").sort_by("score_date").to_pylist()
    assert maintain(shop)["shop__scores"].compacted == 18
    assert [bits(read_scores(shop.lake, shop.spec, source.score_date)) for source in pinned] == rows
    assert manifests(shop.lake, shop.spec) == known
    assert shop.lake.read("shop__profile").sort_by("score_date").to_pylist() == profile
    for source in pinned:
        assert decide(shop.request(source)).action == "no-op"
        assert shop.score(source).action == "unchanged"


def test_parts_that_a_run_has_staged_are_no_orphans_while_they_are_young(shop, monkeypatch) -> None:
    """Maintenance in the middle of a run, between staging and commit."""
    shop.score(shop.put())
    reports = []
    careful = replace(rules([]), retention=timedelta(days=30), orphan_age=timedelta(days=7), now=NOW)

    def failpoint(name: str) -> None:
        if name == "staged":
            reports.append(maintain_table(shop.lake, "shop__scores", careful))

    monkeypatch.setattr("tallywright.scoring.execution.failpoint", failpoint)
    outcome = shop.score(shop.put(310, seed=1))
    assert (reports[0].orphans, reports[0].young_orphans) == (0, 1)
    assert (outcome.action, outcome.manifest.generation) == ("committed", 2)
    assert read_scores(shop.lake, shop.spec).num_rows == 310


def test_parts_of_a_run_that_was_killed_go_when_they_are_old(shop, monkeypatch) -> None:
    def failpoint(name: str) -> None:
        if name == "before-commit":
            raise KeyboardInterrupt

    shop.score(shop.put())
    pinned = shop.put(seed=1)
    with monkeypatch.context() as context:
        context.setattr("tallywright.scoring.commit.sink.failpoint", failpoint)
        with pytest.raises(KeyboardInterrupt):
            shop.score(pinned)
    assert len(shop.files()) == 2
    patient = replace(rules([]), retention=timedelta(days=30), orphan_age=timedelta(days=7))
    assert maintain_table(shop.lake, "shop__scores", patient).young_orphans == 1
    report = maintain_table(shop.lake, "shop__scores", replace(patient, now=NOW + timedelta(days=8)))
    assert (report.orphans, report.deleted) == (1, 0)
    assert shop.files() == {file.path for file in shop.lake.files("shop__scores")}
    assert shop.score(pinned).manifest.generation == latest_manifest(shop.lake, shop.spec, DAY).generation == 2
