from __future__ import annotations

from datetime import date, timedelta

import pyarrow as pa
import pytest

from tallywright import metrics
from tallywright.errors import InputError, UsageError
from tallywright.monitoring.labelled import labelled_rows
from tallywright.monitoring.performance import realised
from tallywright.spec.calendar import end_of_day

DAY = date(2024, 3, 1)
NEXT = DAY + timedelta(days=1)


def rows_of(world, **where) -> list[dict]:
    rows = world.lake.read("shop__performance").to_pylist()
    return [row for row in rows if all(row[name] == value for name, value in where.items())]


def test_mature_labels_give_the_metrics_of_the_joined_rows(world) -> None:
    world.score(DAY, 500)
    world.label(DAY, never=20)
    found = realised(world.lake, world.spec, DAY, as_of=NEXT)
    known = labelled_rows(world.lake, world.spec, DAY, NEXT).filter(pa.compute.field("label_status") == "known")
    expected = metrics.evaluate(known["label"].to_numpy(), known["probability"].to_numpy())
    assert found.metrics == pytest.approx(expected | {"coverage": 480 / 500}, abs=0)
    assert (found.rows, found.known, found.never, found.missing) == (500, 480, 20, 0)
    assert (found.label_age_days, found.mature, found.violated) == (1, True, ())


def test_labels_that_had_not_arrived_are_missing(world) -> None:
    world.score(DAY)
    world.label(DAY, arrives=timedelta(days=2))
    early = realised(world.lake, world.spec, DAY, as_of=NEXT)
    assert (early.known, early.missing, early.metrics) == (0, 300, {"coverage": 0.0})
    late = realised(world.lake, world.spec, DAY, as_of=NEXT + timedelta(days=1))
    assert (late.known, late.missing, late.label_age_days) == (300, 0, 2)
    assert {row["label_age_days"] for row in rows_of(world)} == {1, 2}


def test_a_day_ends_in_the_time_zone_of_the_schedule(world) -> None:
    schedule = world.spec.schedule.model_copy(update={"timezone": "America/New_York"})
    spec = world.spec.model_copy(update={"schedule": schedule})
    assert end_of_day(date(2024, 3, 10), spec.schedule.timezone).isoformat() == "2024-03-11T04:00:00+00:00"
    world.score(DAY)
    world.label(DAY, arrives=timedelta(hours=24 + 28))  # 04:00 UTC of the day after next
    assert realised(world.lake, spec, DAY, as_of=NEXT).known == 300
    assert realised(world.lake, world.spec, DAY, as_of=NEXT).known == 0


def test_a_score_without_skill_violates_its_floor_and_says_so(world) -> None:
    world.score(DAY, 2000)
    world.label(DAY, skill=0.0)
    found = realised(world.lake, world.spec, DAY, as_of=NEXT)
    assert len(found.violated) == 1
    assert found.violated[0].startswith("roc_auc of 2024-03-01 is 0.")
    assert found.violated[0].endswith("bound 0.55 or more")


def test_nothing_violates_with_few_or_young_labels(world) -> None:
    world.score(DAY, 2000)
    world.label(DAY, skill=0.0, never=1950)
    assert realised(world.lake, world.spec, DAY, as_of=NEXT).violated == ()
    world.label(DAY, skill=0.0, arrives=timedelta(hours=1))
    young = realised(world.lake, world.spec, DAY, as_of=DAY)
    assert (young.mature, young.known, young.violated) == (False, 2000, ())


def test_slices_partition_the_day_and_intervals_surround_the_figure(world) -> None:
    world.score(DAY, 1000)
    world.label(DAY, never=10)
    realised(world.lake, world.spec, DAY, as_of=NEXT)
    slices = rows_of(world, slice_key="c0", metric="coverage")
    nulls = world.features[DAY]["c0"].null_count
    assert sum(row["rows"] for row in slices) == 1000 - nulls
    assert {row["slice_value"] for row in slices} == {"blue", "grün", "red", "赤", "ünseen"}
    for row in rows_of(world, metric="roc_auc"):
        assert 0 <= row["lower"] < row["value"] < row["upper"] <= 1
        assert (row["bound_min"], row["model_version"], row["role"]) == (0.55, 1, "champion")


def test_the_same_date_and_age_is_replaced(world) -> None:
    world.score(DAY)
    for skill in (1.0, 0.0):
        world.label(DAY, skill=skill)
        realised(world.lake, world.spec, DAY, as_of=NEXT)
    whole = rows_of(world, slice_key=None)
    assert len({row["metric"] for row in whole}) == len(whole)


def test_a_day_that_was_not_scored_is_an_error(world) -> None:
    with pytest.raises(InputError, match="no rows of 2024-03-01"):
        realised(world.lake, world.spec, DAY, as_of=NEXT)
    with pytest.raises(UsageError, match="cannot be asked for as of"):
        realised(world.lake, world.spec, NEXT, as_of=DAY)


def test_a_day_without_a_label_table_has_no_coverage(world) -> None:
    world.score(DAY)
    found = realised(world.lake, world.spec, DAY, as_of=NEXT)
    assert (found.metrics, found.missing) == ({"coverage": 0.0}, 300)
