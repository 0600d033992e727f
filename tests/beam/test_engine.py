"""What the Beam engine promises whatever the runner does: one part a split, errors with their class, nothing left."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from beam_world import beam_engine, on, times
from synthetic import DAY, ROLES, make_cast, make_request, make_spec, read_scores

from tallywright.errors import EngineError, IntegrityError, PackageError, StorageError, UsageError
from tallywright.scoring.day import score_day
from tallywright.scoring.engines.base import Engines

pytestmark = [pytest.mark.beam, pytest.mark.filterwarnings("ignore")]


def silent(rows: int) -> None:
    del rows


def test_each_split_makes_one_part_and_nothing_else_stays(engines, day) -> None:
    told: list[int] = []
    parts = beam_engine(engines).score(day.job(), times(day.splits(), 5), told.append)
    assert [part.split for part in parts] == list(range(5))
    assert told == [3000] * 5
    assert day.left == sorted(part.path for part in parts)


def test_rows_are_those_of_the_local_engine(engines, day, tmp_path, package) -> None:
    outcome = score_day(day.request(engines=engines))
    rows = read_scores(day.lake, day.request().spec)
    again = score_day(replace(day.request(force=True), engine="local"))
    assert read_scores(day.lake, day.request().spec).equals(rows)
    assert outcome.manifest.engine == "beam"
    assert (again.manifest.key_digest, again.manifest.profile_digest) == (
        outcome.manifest.key_digest,
        outcome.manifest.profile_digest,
    )


def test_an_engine_scores_one_day_after_the_other(engines, day) -> None:
    for generation in (1, 2, 3):
        assert score_day(day.request(engines=engines, force=True)).manifest.generation == generation


def test_a_bundle_that_ran_twice_counts_once(day) -> None:
    with Engines(on("FnApiRunner", "--direct_runner_bundle_repeat=2")) as engines:
        parts = beam_engine(engines).score(day.job(), times(day.splits(), 4), silent)
    assert [part.split for part in parts] == [0, 1, 2, 3]
    assert day.left == sorted(part.path for part in parts)


def test_shadows_of_a_bundle_that_ran_twice_count_once(day, tmp_path) -> None:
    spec = make_spec(scoring=ROLES)
    cast = make_cast(tmp_path, spec)
    with Engines(on("FnApiRunner", "--direct_runner_bundle_repeat=1")) as engines:
        champion = cast["packages"][cast["models"][0].digest]
        score_day(make_request(day.lake, spec, day.pinned, champion, engine="beam", engines=engines, **cast))
    for what in ("scores", "shadow"):
        table = day.lake.open(spec.table(what))
        staged = {file.name for file in Path(day.lake.uri(spec.table(what))).rglob("*.parquet")}
        assert staged == {Path(file).name for file in table.file_uris()}


def test_a_file_that_is_gone_is_an_integrity_error(engines, day) -> None:
    job, splits = day.job(), times(day.splits(), 4)
    gone = splits[2].fragments[0].model_copy(update={"path": "/nowhere/part.parquet"})
    splits[2] = splits[2].model_copy(update={"fragments": (gone,)})
    with pytest.raises(IntegrityError, match=r"nowhere/part\.parquet: it is gone"):
        beam_engine(engines).score(job, splits, silent)
    assert day.left == []


def test_a_file_that_is_broken_is_an_integrity_error(engines, day) -> None:
    job, splits = day.job(), day.splits()
    Path(splits[0].fragments[0].path).write_bytes(b"PAR1 but no more")
    with pytest.raises(IntegrityError) as caught:
        beam_engine(engines).score(job, splits, silent)
    assert caught.value.remedy == f"tally ingest shop --date {DAY}"
    assert day.left == []


def test_a_package_that_workers_cannot_see_is_a_package_error(engines, day, tmp_path) -> None:
    job = day.job()
    elsewhere = replace(job, models=(replace(job.models[0], package=str(tmp_path / "elsewhere")),))
    with pytest.raises(PackageError):
        beam_engine(engines).score(elsewhere, day.splits(), silent)


def test_a_worker_that_cannot_report_is_a_storage_error(engines, day) -> None:
    job = day.job()
    Path(job.table, "_tallywright").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="cannot write below"):
        beam_engine(engines).score(job, day.splits(), silent)
    assert day.left == ["_tallywright"]


def test_what_no_error_class_foresees_is_an_engine_error_and_the_next_day_goes_on(day) -> None:
    with Engines(on("FnApiRunner")) as engines:
        strange = replace(day.job(), threshold="high")
        with pytest.raises(EngineError, match="could not convert"):
            beam_engine(engines).score(strange, day.splits(), silent)
        assert day.left == []
        assert score_day(day.request(engines=engines)).action == "committed"


def test_prism_starts_nothing_without_its_program(day, tmp_path) -> None:
    with (
        Engines(on("PrismRunner", f"--prism_location={tmp_path / 'prism'}")) as engines,
        pytest.raises(UsageError, match="there is no Prism"),
    ):
        score_day(day.request(engines=engines))
    assert day.left == []


def test_prism_that_does_not_start_says_why(day, tmp_path) -> None:
    program = tmp_path / "prism"
    program.write_text("#!/bin/sh\necho no luck today >&2\nexit 3\n")
    program.chmod(0o755)
    with (
        Engines(on("PrismRunner", f"--prism_location={program}", "--sdk_worker_parallelism=1")) as engines,
        pytest.raises(EngineError, match=r"code 3: no luck today"),
    ):
        score_day(day.request(engines=engines))


def test_a_run_that_died_leaves_a_folder_that_no_reader_sees(day) -> None:
    score_day(replace(day.request(), engine="local"))
    rows = read_scores(day.lake, day.request().spec)
    folder = Path(day.lake.uri("shop__scores"), "_tallywright", "dead-run")
    folder.mkdir(parents=True)
    shutil.copy(min(Path(day.lake.uri("shop__scores")).rglob("part-*.parquet")), folder / "part-1.parquet")
    assert read_scores(day.lake, day.request().spec).equals(rows)
