"""Two generations of a day are compared row by row, and each row that differs has its cause."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from shared import shared
from synthetic import DAY, make_features, make_package, make_project, make_request, put_day, read_scores

from tallywright.data.delta.lake import Lake
from tallywright.errors import InputError, IntegrityError
from tallywright.reporting.generations import diff
from tallywright.scoring.commit.manifests import record_tally, recorded_tallies
from tallywright.scoring.day import score_day

ROWS = 60


def restated(features: pa.Table) -> pa.Table:
    """Ten rows with another x0, the last row gone, another one added."""
    values = np.array(features["x0"].to_pylist(), dtype=float)
    values[:10] = np.arange(10) / 3 + 2
    changed = features.set_column(features.column_names.index("x0"), "x0", pa.array(values)).slice(0, ROWS - 1)
    return pa.concat_tables([changed, make_features(1, seed=77).cast(changed.schema)])


def live(root: Path):
    """Generation 1; 2 of a restated input; 3 by another model; 4 by another threshold; 5 with all three changed."""
    project = make_project(root)
    lake, spec = Lake.of(project.environment), project.spec
    first, second = (make_package(root / str(seed), seed=seed) for seed in (1, 2))
    strict = spec.model_copy(update={"scoring": spec.scoring.model_copy(update={"threshold": 0.9})})
    features = make_features(ROWS)
    for spec_then, rows, package, version in (
        (spec, features, first, 1),
        (spec, restated(features), first, 1),
        (spec, restated(features), second, 2),
        (strict, restated(features), second, 2),
        (spec, features, first, 1),
    ):
        pinned = put_day(lake, spec, rows)
        score_day(make_request(lake, spec_then, pinned, package, version=version))
    return project


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("generations")
    made = live(root)
    shared(root)
    return made


def causes(found) -> Counter:
    return Counter(zip(found.rows["state"].to_pylist(), found.rows["why"].to_pylist(), strict=True))


def test_a_restated_input(project) -> None:
    found = diff(project, DAY, (1, 2))
    changed = found.summary["rows"]["changed"]
    assert 0 < changed <= 10
    assert found.summary["rows"] == {
        "same": ROWS - 1 - changed, "changed": changed, "only before": 1, "only after": 1,
    }  # fmt: skip
    assert causes(found) == {
        ("changed", "restated_input"): changed,
        ("only before", "restated_input"): 1,
        ("only after", "restated_input"): 1,
    }
    assert found.summary["why"].keys() == {"restated_input"}
    assert found.summary["rows that differ, by cause"] == {"restated_input": changed + 2}
    (gone,) = [row for row in found.rows.to_pylist() if row["state"] == "only before"]
    assert gone["probability_before"] is not None
    assert gone["probability_after"] is None


def test_another_model(project) -> None:
    found = diff(project, DAY, (2, 3))
    assert found.summary["rows"]["changed"] == found.rows.num_rows > ROWS // 2
    assert causes(found) == {("changed", "model"): found.rows.num_rows}
    assert found.summary["why"]["model"].startswith("champion 1 (")
    told = found.summary["outputs"]["probability"]
    rows = found.rows.to_pylist()
    assert told["differs"] == len(rows)
    assert told["share"] == len(rows) / ROWS
    assert told["largest difference"] == max(abs(r["probability_before"] - r["probability_after"]) for r in rows)
    assert {(row["model_version_before"], row["model_version_after"]) for row in rows} == {(1, 2)}


def test_another_setting(project) -> None:
    found = diff(project, DAY, (3, 4))
    assert found.summary["why"] == {"spec": "scoring.threshold: 0.5 -> 0.9"}
    assert set(causes(found)) == {("changed", "spec")}
    assert found.summary["outputs"]["probability"]["differs"] == 0
    assert found.summary["outputs"]["prediction"]["differs"] == found.rows.num_rows > 0


def test_the_last_two_by_default_and_all_causes_at_once(project) -> None:
    found = diff(project, DAY)
    assert [found.summary[side]["generation"] for side in ("before", "after")] == [4, 5]
    assert found.summary["why"].keys() == {"restated_input", "model", "spec"}
    assert {why for state, why in causes(found) if state == "changed"} == {"model", "restated_input+model"}
    reversed_order = diff(project, DAY, (5, 4))
    assert reversed_order.summary["before"]["generation"] == 4


def test_generations_that_hold_the_same_rows(project) -> None:
    found = diff(project, DAY, (1, 5))
    assert found.rows.num_rows == 0
    assert found.summary["why"] == {}
    assert found.summary["rows"]["same"] == ROWS
    assert [row["order_id"] for row in found.rows.to_pylist()] == []


@pytest.mark.parametrize("wanted", [(1, 9), (2, 2), (0, 1)])
def test_generations_that_are_not_there(project, wanted) -> None:
    with pytest.raises(InputError, match="has the generations 1, 2, 3, 4, 5; "):
        diff(project, DAY, wanted)


def test_a_day_that_was_scored_once_or_never(tmp_path) -> None:
    project = make_project(tmp_path)
    with pytest.raises(InputError, match="has no generation; its last two cannot"):
        diff(project, DAY)
    lake = Lake.of(project.environment)
    pinned = put_day(lake, project.spec, make_features(20))
    score_day(make_request(lake, project.spec, pinned, make_package(tmp_path / "package")))
    with pytest.raises(InputError, match="has generation 1 alone; its last two cannot"):
        diff(project, DAY)


def test_what_vacuum_deleted_is_said(tmp_path) -> None:
    project = live(tmp_path)
    lake = Lake.of(project.environment)
    features = DeltaTable(lake.uri("shop__features"))
    features.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    found = diff(project, DAY, (1, 2))
    assert "input rows cannot be compared" in found.summary["note"]
    assert {why for _, why in causes(found)} == {"restated_input"}

    table = DeltaTable(lake.uri("shop__scores"))
    table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    with pytest.raises(InputError, match="generation 1 of 2024-03-01 can no longer be read") as caught:
        diff(project, DAY, (1, 2))
    assert "maintenance.retention_days" in caught.value.expected
    DeltaTable(lake.uri("shop__scores")).create_checkpoint()
    for file in Path(lake.uri("shop__scores"), "_delta_log").glob("0000000000000000000[012].json"):
        file.unlink()
    with pytest.raises(InputError, match="generation 1 of 2024-03-01 can no longer be read"):
        diff(project, DAY, (1, 5))


def test_a_generation_whose_file_is_another_one_is_damage_and_no_difference(tmp_path) -> None:
    project = live(tmp_path)
    lake = Lake.of(project.environment)
    tallies = {one.manifest.generation: one for one in recorded_tallies(lake, project.spec, DAY)}
    torn = Path(lake.uri("shop__scores"), tallies[2].manifest.files[0].path)
    torn.write_bytes(torn.read_bytes()[:-200])
    with pytest.raises(IntegrityError, match=f"2024-03-01 .* generation 2 .*{torn.name}") as caught:
        diff(project, DAY, (1, 2))
    assert caught.value.remedy.startswith("restore the file from a backup, or compare other generations")
    newest = Path(lake.uri("shop__scores"), tallies[5].manifest.files[0].path)
    newest.unlink()
    with pytest.raises(IntegrityError, match=f"2024-03-01 .* generation 5 .*{newest.name}: it is gone") as caught:
        diff(project, DAY, (1, 5))
    assert caught.value.remedy == "tally score shop --date 2024-03-01"


def test_a_difference_that_nothing_explains_is_called_that(tmp_path) -> None:
    """A row of generation 5 that another writer has changed; the tally is of the time before they named their files."""
    project = live(tmp_path)
    lake = Lake.of(project.environment)
    (newest,) = (one for one in recorded_tallies(lake, project.spec, DAY) if one.manifest.generation == 5)
    before_files = newest.manifest.model_copy(update={"files": ()})
    record_tally(lake, project.spec, newest.model_copy(update={"manifest": before_files}))
    before = diff(project, DAY, (1, 5))
    assert before.rows.num_rows == 0
    version = lake.look("shop__scores").version()
    (file,) = lake.files("shop__scores", day=DAY, version=version)
    key = read_scores(lake, project.spec)["order_id"][0].as_py()
    rows = pq.ParquetFile(file.path).read()
    at = rows["order_id"].to_pylist().index(key)
    values = rows["probability"].to_pylist()
    values[at] = 0.123
    altered = rows.set_column(rows.column_names.index("probability"), "probability", pa.array(values, pa.float32()))
    pq.write_table(altered, file.path)
    found = diff(project, DAY, (1, 5))
    assert causes(found) == {("changed", "unexplained"): 1}
    assert found.rows["order_id"].to_pylist() == [key]
