"""What is stored is what was committed, or `verify` says so: every file of a small lake, damaged in each way."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from damage import DAYS, NOW, ROWS, change_rows, damages, data_files, make_lake, pass_gate, put, score
from deltalake import DeltaTable, write_deltalake
from synthetic import DAY, read_scores

from tallywright.data.delta.lake import Lake
from tallywright.data.inputs.versions import input_version
from tallywright.errors import IntegrityError
from tallywright.lifecycle.context import RunContext
from tallywright.lifecycle.run import run_step
from tallywright.lifecycle.verify.model import verify_model
from tallywright.lifecycle.verify.repair import accept_model, repair_model
from tallywright.registry.promotion_log import PromotionLog
from tallywright.reporting.overview import overview
from tallywright.reporting.trace import trace
from tallywright.spec import Project
from tallywright.spec.sections import MetricBound

A_FEW = 2
"""Of the ways to damage each table, so many are tried by `make test`."""


@dataclass
class Standing:
    """A project whose lake was verified, and a copy of the lake as it was then."""

    project: Project
    folder: Path
    kept: Path

    @property
    def lake(self) -> Lake:
        return Lake.of(self.project.environment)

    @property
    def context(self) -> RunContext:
        return RunContext(self.project, DAY, "test")

    def verify(self, **options) -> list[str]:
        return [f"{one.what} {one.score_date}: {one.problem}" for one in
                verify_model(self.project, self.lake, now=NOW, **options)]  # fmt: skip

    def table(self, what: str) -> Path:
        return self.folder / f"shop__{what}"

    def score(self, day=DAY):
        return run_step(RunContext(self.project, day, "again"), "score")

    def scores(self):
        tables = [read_scores(self.lake, self.project.spec, day) for day in DAYS]
        return [table.drop_columns(["input_version"]) for table in tables]

    def reset(self) -> None:
        shutil.rmtree(self.folder)
        shutil.copytree(self.kept, self.folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Standing:
    root = tmp_path_factory.mktemp("standing")
    project = make_lake(root)
    standing = Standing(project, Path(project.environment.storage.lake), root / "kept")
    assert standing.verify() == []
    shutil.copytree(standing.folder, standing.kept)
    return standing


@pytest.fixture
def standing(made: Standing) -> Iterator[Standing]:
    yield made
    made.reset()


def _ways(standing: Standing, *, every: bool) -> Iterator[tuple[Path, str, object]]:
    tables = [table for table in sorted(standing.folder.iterdir()) if table.name != "shop__verified"]
    for place, table in enumerate(tables):
        ways = list(damages(table))
        step = 1 if every else max(1, len(ways) // A_FEW)
        yield from ((table, name, damage) for name, damage in ways[0 if every else place % step :: step])


def test_a_sound_lake_stands_and_stays_as_it_is(standing: Standing) -> None:
    tables = [table for table in standing.folder.iterdir() if table.name != "shop__verified"]
    before = {table: DeltaTable(table).version() for table in tables}
    assert standing.verify(deep=False) == standing.verify(days=(DAY, DAY)) == []
    assert {table: DeltaTable(table).version() for table in tables} == before


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.long)])
def test_every_file_damaged_in_each_way_is_found(standing: Standing, every: bool) -> None:  # noqa: FBT001
    missed, tried = [], 0
    for table, name, damage in _ways(standing, every=every):
        damage(table)
        tried += 1
        if not standing.verify():
            missed.append((table.name, name))
        standing.reset()
    assert missed == []
    assert tried > (200 if every else 25)


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_what_can_be_made_again_is_repaired(standing: Standing) -> None:
    """All but the promotion log, which is made of nothing else: its files come back only where they are sound."""
    before, left = standing.scores(), []
    for table, name, damage in _ways(standing, every=True):
        damage(table)
        try:
            _repair(standing, table, name)
            if standing.verify() or standing.scores() != before:
                left.append((table.name, name))
        except IntegrityError:
            left.append((table.name, name))
        standing.reset()
    assert {table for table, _ in left} <= {"shop__promotions"}
    assert not {"add_rows", "change_rows", "delete_rows", "go_back"} & {name for _, name in left}


def _repair(standing: Standing, table: Path, name: str) -> None:
    """What the findings say is to be done."""
    repair_model(standing.context)
    for day in DAYS:
        ingested = table.name in ("shop__features", "shop__labels")
        if ingested and any(line.startswith(table.name) for line in standing.verify(days=(day, day))):
            put(standing.lake, standing.project, day)
        pass_gate(standing.lake, standing.project, day)
        standing.score(day)
    repair_model(standing.context)
    if "log" in name:
        accept_model(standing.context)


def test_compaction_and_another_optimize_are_no_damage(standing: Standing) -> None:
    for table in standing.folder.iterdir():
        write_deltalake(table, DeltaTable(table).to_pyarrow_table().slice(0, 0), mode="append")
        DeltaTable(table).optimize.z_order([DeltaTable(table).schema().fields[0].name])
    assert standing.verify() == []
    assert standing.score()["action"] == "unchanged"
    before = DeltaTable(standing.table("tallies")).version()
    assert standing.score()["action"] == "unchanged"
    assert DeltaTable(standing.table("tallies")).version() == before


def _lose_file(table: Path) -> None:
    data_files(table)[0].unlink()


def _double(table: Path) -> None:
    rows = DeltaTable(table).to_pyarrow_table(filters=[("score_date", "=", DAY)])
    write_deltalake(table, rows.slice(0, 50), mode="append")


def _delete_day(table: Path) -> None:
    DeltaTable(table).delete(f"score_date = '{DAY}'")


@pytest.mark.parametrize("damage", [_lose_file, _double, _delete_day, change_rows])
def test_scores_that_are_not_the_tallys_are_named_refused_and_committed_again(standing: Standing, damage) -> None:
    before = standing.scores()
    damage(standing.table("scores"))
    spec = standing.project.spec
    assert overview(standing.project)[0].problem
    assert any(line.startswith(f"shop__scores {DAY}") for line in standing.verify())
    for refused in (
        lambda: run_step(standing.context, "watch"),
        lambda: run_step(standing.context, "performance"),
        lambda: trace(standing.project, before[0]["order_id"][0].as_py(), DAY),
    ):
        with pytest.raises(IntegrityError, match=f"{DAY}.*generation 1") as error:
            refused()
        assert error.value.remedy == f"tally score {spec.name} --date {DAY}"
    done = [standing.score(day) for day in DAYS]
    assert (done[0]["action"], done[0]["reason"], done[0]["generation"]) == ("committed", "lost", 2)
    assert standing.scores() == before
    assert not any(line.startswith("shop__scores") for line in standing.verify())


def test_input_that_is_not_the_ingested_one_is_not_scored(standing: Standing) -> None:
    change_rows(standing.table("features"))
    with pytest.raises(IntegrityError, match=f"{DAY} has {ROWS} rows that are not") as error:
        input_version(standing.lake, standing.project.spec, DAY)
    assert error.value.remedy == f"tally ingest shop --date {DAY}"


@pytest.mark.parametrize("what", ["edited", "cut"])
def test_a_promotion_log_that_was_changed_resolves_nobody(standing: Standing, what: str) -> None:
    log = standing.table("promotions")
    if what == "edited":
        DeltaTable(log).update(updates={"effective_from": "DATE '2025-03-01'"})
    else:
        max((log / "_delta_log").glob("*.json")).unlink()
    with pytest.raises(IntegrityError, match="entry 1") as error:
        run_step(standing.context, "resolve")
    assert error.value.exit_code == 15
    assert PromotionLog(standing.lake, standing.project.spec).problems()
    if what == "edited":
        repair_model(standing.context)
        assert run_step(standing.context, "resolve")["models"]
        assert standing.verify() == []


def test_a_damaged_checkpoint_is_named_and_written_anew(standing: Standing) -> None:
    features = standing.table("features")
    DeltaTable(features).create_checkpoint()
    checkpoint = next((features / "_delta_log").glob("*.checkpoint.parquet"))
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.raises(IntegrityError, match=checkpoint.name) as error:
        standing.lake.open("shop__features")
    assert error.value.remedy == "tally verify shop --repair"
    repair_model(standing.context)
    assert standing.verify() == []
    assert standing.score()["action"] == "unchanged"


def test_the_scored_day_is_decided_again_by_its_own_run(standing: Standing) -> None:
    score(standing.project, DAY)
    assert standing.verify() == []


def test_a_repair_of_a_sound_lake_writes_nothing_and_waits_for_labels_as_a_run_does(standing: Standing) -> None:
    """Also under bounds, thresholds and a policy that came after its rows: what stands is history."""
    project = standing.project
    spec = project.spec.model_copy(
        update={
            "monitoring": project.spec.monitoring.model_copy(
                update={"min_labels": 1, "performance_floor": {"roc_auc": MetricBound(min=0.99)}}
            ),
            "retraining": project.spec.retraining.model_copy(update={"num_violation_windows": 1}),
        }
    )
    changed = replace(standing.context, project=replace(project, spec=spec))
    assert max(row["as_of"] for row in _performance(standing)) == DAYS[-1]
    for context in (standing.context, changed):
        before = {table: DeltaTable(table).version() for table in standing.folder.iterdir()}
        repair_model(context)
        assert {table: DeltaTable(table).version() for table in standing.folder.iterdir()} == before


def test_a_repair_makes_no_day_mature_before_its_time(standing: Standing) -> None:
    before = sorted(map(str, _performance(standing)))
    shutil.rmtree(standing.table("performance"))
    shutil.rmtree(standing.table("decisions"))
    repair_model(standing.context)
    assert sorted(map(str, _performance(standing))) == before
    decisions = DeltaTable(standing.table("decisions")).to_pyarrow_table().to_pylist()
    assert [row["score_date"] for row in decisions if not row["superseded"]] == list(DAYS)


def _performance(standing: Standing) -> list[dict[str, object]]:
    return DeltaTable(standing.table("performance")).to_pyarrow_table().to_pylist()
