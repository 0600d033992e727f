"""Realised performance of every task, of shadows too; what could not be judged is said in rows and decisions."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from scored_day import ROWS, drawn, scored
from synthetic import DAY, make_features, make_package, make_request, put_day, read_scores
from world import World

from tallywright.data.etl.labels import LabelWriter
from tallywright.data.etl.reading import Reading
from tallywright.errors import InputError
from tallywright.labels import encoded
from tallywright.metrics import evaluate
from tallywright.monitoring.decisions import decide
from tallywright.monitoring.performance import realised
from tallywright.records import DayState
from tallywright.scoring.commit.manifests import latest_manifest
from tallywright.scoring.day import score_day
from tallywright.tasks import TASKS

if TYPE_CHECKING:
    from pathlib import Path


NEXT = DAY + timedelta(days=1)
NUMBERED = {"classes": ("0", "1", "2"), "class_type": "int32"}
TEXTS = {"classes": ("no", "yes"), "positive": "yes"}


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ("regression", {}),
        ("multiclass", NUMBERED),
        ("multiclass", {"classes": ("bad", "good", "übel")}),
        ("binary", TEXTS),
        ("binary", {"threshold": 0.3}),
    ],
)
def test_every_metric_of_the_task_is_realised_for_champion_and_shadow(
    tmp_path: Path, task: str, told: dict[str, Any]
) -> None:
    floor = {TASKS[task].primary_metric: {"max": 0.0}} if task != "binary" else {"roc_auc": {"min": 1.0}}  # type: ignore[index]
    day = scored(tmp_path, task, told, monitoring={"performance_floor": floor}, scoring={"threshold": 0.3})
    values = drawn(task, told)
    day.label(values)
    found = realised(day.lake, day.spec, DAY, as_of=NEXT)
    kind = TASKS[task]  # type: ignore[index]
    tally = latest_manifest(day.lake, day.spec, DAY)
    assert tally is not None
    assert tally.meaning is not None
    for role, version, table in (("champion", 1, "scores"), ("shadow", 2, "shadow")):
        stored = read_scores(day.lake, day.spec, what=table)
        p = np.array(stored[kind.score_column].to_pylist(), np.float64)
        y = encoded(pa.chunked_array([pa.array(values)]), kind, tally.meaning.classes, tally.meaning.positive)
        classes = tally.meaning.classes if task == "multiclass" else ()
        expected = evaluate(y, p, task=task, threshold=0.3, classes=classes)  # type: ignore[arg-type]
        mine = {row["metric"]: row for row in day.rows(role=role, slice_key=None)}
        assert mine.keys() == expected.keys() | {"coverage"}
        assert {name: mine[name]["value"] for name in expected} == pytest.approx(expected)
        assert expected.keys() >= kind.metrics
        assert {row["model_version"] for row in mine.values()} == {version}
        assert {row["rows"] for row in mine.values()} == {ROWS}
        assert sum(row["rows"] for row in day.rows(role=role, slice_key="c0", metric="coverage")) > 0.9 * ROWS
        bounded = {name for name, row in mine.items() if (row["bound_min"], row["bound_max"]) != (None, None)}
        assert bounded == (set(floor) if role == "champion" else set())
        assert [row["metric"] for row in mine.values() if row["violated"]] == sorted(bounded)
    assert found.metrics == {row["metric"]: row["value"] for row in day.rows(role="champion", slice_key=None)}
    assert len(found.violated) == 1


def test_restated_labels_restate_the_shadow_and_a_shadow_of_an_earlier_generation_is_none(tmp_path: Path) -> None:
    day = scored(tmp_path, "binary", {})
    day.label(drawn("binary", {}))
    realised(day.lake, day.spec, DAY, as_of=NEXT)
    (before,) = day.rows(role="shadow", slice_key=None, metric="roc_auc")
    day.label(drawn("binary", {})[::-1])
    realised(day.lake, day.spec, DAY, as_of=NEXT)
    (after,) = day.rows(role="shadow", slice_key=None, metric="roc_auc")
    assert before["value"] != after["value"]
    pinned = put_day(day.lake, day.spec, make_features(ROWS, seed=3))
    score_day(make_request(day.lake, day.spec, pinned, make_package(tmp_path / "1", seed=1)))
    day.label(drawn("binary", {}))
    realised(day.lake, day.spec, DAY, as_of=NEXT)
    assert {row["role"] for row in day.rows()} == {"champion"}


def test_a_label_of_a_class_that_the_model_does_not_know_is_wholly_improbable(tmp_path: Path) -> None:
    day = scored(tmp_path, "multiclass", NUMBERED)
    day.label([7] * ROWS)
    found = realised(day.lake, day.spec, DAY, as_of=NEXT).metrics
    assert found["accuracy"] == 0
    assert found["log_loss"] == pytest.approx(-np.log(1e-7))


def test_a_label_of_no_class_of_a_binary_model_is_an_error_of_the_day(tmp_path: Path) -> None:
    day = scored(tmp_path, "binary", {})
    day.label([2] * ROWS)
    with pytest.raises(InputError, match="400 labels that are no class of the model: 2"):
        realised(day.lake, day.spec, DAY, as_of=NEXT)


def test_two_models_whose_negative_class_has_another_name_share_the_positive_one() -> None:
    column = pa.chunked_array([["yes", "no", "NO", "perhaps"]])
    assert encoded(column, TASKS["binary"], ("no", "yes", "NO"), "yes").tolist() == [1, 0, 0, -1]
    assert encoded(column, TASKS["binary"], ("no", "yes"), "yes").tolist() == [1, 0, -1, -1]


def test_labels_with_another_negative_class_than_the_newest_tallys_are_said_when_they_are_read(
    tmp_path: Path, heard: Any
) -> None:
    day = scored(tmp_path, "binary", TEXTS)
    day.label(["yes", "NO"] * (ROWS // 2))
    labels = day.lake.read("shop__labels", where={"score_date": DAY})
    LabelWriter(day.lake, day.spec, DAY).write(DAY, labels, Reading.before(day.lake, day.spec, [DAY]))
    assert f"labels of {DAY}: label has the class 'NO' in {ROWS // 2} rows, where the class beside 'yes'" in heard.text
    assert "was 'no' so far" in heard.text


def test_nan_in_a_table_of_before_is_a_missing_label(tmp_path: Path) -> None:
    day = scored(tmp_path, "binary", {})
    values = [float(value) for value in drawn("binary", {})]
    values[:4] = [float("nan")] * 4
    day.label(values)
    found = realised(day.lake, day.spec, DAY, as_of=NEXT)
    assert (found.known, found.missing) == (ROWS - 4, 4)


def test_an_extreme_label_leaves_metrics_without_a_value_and_says_so(tmp_path: Path) -> None:
    """The squares of 1e300 are no float64: no value, no interval, no warning of numpy, and no quiet ok."""
    floor = {"rmse": {"max": 60.0}, "mae": {"max": 50.0}}
    day = scored(tmp_path, "regression", {}, monitoring={"performance_floor": floor})
    values = drawn("regression", {})
    values[0] = 1e300
    day.label(values)
    found = realised(day.lake, day.spec, DAY, as_of=NEXT)
    rows = {row["metric"]: row for row in day.rows(role="champion", slice_key=None)}
    for metric in ("rmse", "r2"):
        assert (rows[metric]["value"], rows[metric]["upper"], rows[metric]["violated"]) == (None, None, False)
        assert rows[metric]["note"] == "it is no finite number: labels and predictions are too far apart"
    assert rows["mae"]["violated"]
    assert rows["mae"]["upper"] is None
    assert found.violated == (f"mae of {DAY} is 2.5e+297, bound 50 or less",)


def test_a_bound_that_cannot_be_judged_is_said_and_never_quietly_ok(world: World) -> None:
    """Too few labels, one class only, no label at all: the row says why, and so does the decision of that day."""
    days = [DAY + timedelta(days=number) for number in range(4)]
    for one in days:
        world.watch(one, 200)
    world.label(days[0], never=150)
    world.label(days[1])
    labels = world.lake.read("shop__labels", where={"score_date": days[1]})
    ones = labels.set_column(labels.column_names.index("label"), "label", pa.array([1] * 200, pa.int64()))
    world.lake.replace("shop__labels", ones, slice={"score_date": days[1]}, partition_by=("score_date",))
    for one in days[:3]:
        realised(world.lake, world.spec, one, as_of=one + timedelta(days=1))
    notes = {
        row["score_date"]: row["note"]
        for row in world.lake.read("shop__performance").to_pylist()
        if row["metric"] == "roc_auc" and row["slice_key"] is None
    }
    assert notes == {
        days[0]: "50 labels, at least 100 (monitoring.min_labels)",
        days[1]: "the known labels are all the same",
        days[2]: "no label is known",
    }
    for place, one in enumerate(days):
        decision = decide(world.lake, world.spec, one)
        said = (f"not_judged: roc_auc of {days[place - 1]}: {notes[days[place - 1]]}",) if place else ()
        state = DayState.NOT_JUDGED if said else DayState.OK
        assert (decision.state, decision.reasons) == (state, said)


def test_a_tally_of_before_names_no_classes(tmp_path: Path) -> None:
    """Only the accuracy can be had, by the predictions; the log loss says why not."""
    day = scored(tmp_path, "multiclass", NUMBERED, monitoring={"performance_floor": {"log_loss": {"max": 0.1}}})
    table = day.lake.read("shop__tallies")
    manifest = latest_manifest(day.lake, day.spec, DAY)
    assert manifest is not None
    text = manifest.model_copy(update={"meaning": None}).to_json()
    changed = table.set_column(table.column_names.index("manifest_json"), "manifest_json", pa.array([text]))
    day.lake.replace("shop__tallies", changed, slice={"score_date": DAY})
    day.label(drawn("multiclass", NUMBERED))
    realised(day.lake, day.spec, DAY, as_of=NEXT)
    rows = {row["metric"]: row for row in day.rows(role="champion", slice_key=None)}
    assert rows["log_loss"]["value"] is None
    assert "before tallies named their classes" in rows["log_loss"]["note"]
    assert 0 < rows["accuracy"]["value"] < 1
