from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest
from synthetic import make_package

from tallywright.errors import PackageError
from tallywright.monitoring.drift import DriftComparison, compare_day, not_judged, write_drift
from tallywright.profiles.comparison import ReferenceDays, js_distance, psi
from tallywright.profiles.profile import SCORE
from tallywright.spec.sections import Monitoring

DAY = date(2024, 3, 1)
NEXT = DAY + timedelta(days=1)


def column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


def warmer(table: pa.Table) -> pa.Table:
    return column(table, "x0", pa.compute.add(table["x0"], 1.5))


def emptied(table: pa.Table) -> pa.Table:
    return column(table, "x1", pa.nulls(table.num_rows, pa.float64()))


def strange(table: pa.Table) -> pa.Table:
    return column(table, "c1", pa.array(["new"] * table.num_rows))


def compared(world, *, rows=600, change=None) -> dict[tuple[str, str], DriftComparison]:
    manifest = world.score(DAY, rows, change=change)
    found = compare_day(world.spec, world.package, manifest, world.profile(manifest))
    return {(one.column, one.metric): one for one in found}


def violated(found: dict[tuple[str, str], DriftComparison]) -> set[tuple[str, str]]:
    return {where for where, one in found.items() if one.violated}


def test_a_usual_day_is_compared_everywhere_and_violates_nothing(world) -> None:
    found = compared(world)
    features = {
        (f"{kind}{i}", metric) for kind, n in (("x", 4), ("c", 2)) for i in range(n) for metric in ("psi", "js")
    }
    shares = {(f"x{i}", "null_share") for i in range(4)} | {
        (f"c{i}", metric) for i in range(2) for metric in ("null_share", "unseen_share")
    }
    assert set(found) == features | shares | {(SCORE, "psi"), (SCORE, "js")}
    assert {where for where in violated(found) if where[0] != SCORE} == set()


def test_values_are_those_of_the_profiles_and_name_their_variant(world) -> None:
    manifest = world.score(DAY)
    profile = world.profile(manifest)
    for one in compare_day(world.spec, world.package, manifest, profile):
        counts = world.package.reference.counts(one.column), profile.counts(one.column)
        if one.metric == "psi":
            assert (one.value, one.variant) == (psi(*counts), "psi.reference_quantiles.floor1e-4")
        if one.metric == "js":
            assert (one.value, one.variant) == (js_distance(*counts), "js.reference_quantiles.distance.base2")
        assert one.baseline == "training"
        assert one.definition_digest == world.package.definition.digest


def test_a_shifted_column_violates_and_the_others_do_not(world) -> None:
    found = violated(compared(world, change=warmer))
    assert {("x0", "psi"), ("x0", "js")} <= found
    assert {where for where in found if where[0] not in {"x0", SCORE}} == set()


def test_an_emptied_column_violates_by_its_null_share_and_has_no_shape(world) -> None:
    found = compared(world, change=emptied)
    assert ("x1", "null_share") in violated(found)
    assert found["x1", "null_share"].value == pytest.approx(1.0, abs=0.05)
    assert ("x1", "psi") not in found


def test_unseen_categories_violate(world) -> None:
    assert ("c1", "unseen_share") in violated(compared(world, change=strange))


def test_a_day_under_min_rows_is_reported_and_never_violates(world) -> None:
    found = compared(world, rows=150, change=warmer)
    assert found["x0", "psi"].value > world.spec.monitoring.psi_threshold
    assert violated(found) == set()


def test_a_column_that_is_only_reported_neither_violates_nor_lowers_the_bar_for_others(world) -> None:
    def judged() -> dict[tuple[str, str], DriftComparison]:
        return compared(world, rows=600, change=warmer)

    before = judged()
    monitoring = world.spec.monitoring.model_copy(update={"report_only": ("x0",)})
    world.spec = world.spec.model_copy(update={"monitoring": monitoring})
    after = judged()
    assert after["x0", "psi"].value == before["x0", "psi"].value > before["x0", "psi"].threshold
    assert violated(after) == {where for where in violated(before) if where[0] != "x0"}


@pytest.mark.parametrize(("change", "metric"), [(emptied, "null_share"), (strange, "unseen_share")])
def test_values_that_fail_count_even_where_only_the_shape_is_reported(world, change, metric) -> None:
    column_name = "x1" if change is emptied else "c1"
    monitoring = world.spec.monitoring.model_copy(update={"report_only": ("x1", "c1")})
    world.spec = world.spec.model_copy(update={"monitoring": monitoring})
    found = compared(world, change=change)
    assert {where for where in violated(found) if where[0] != SCORE} == {(column_name, metric)}


def test_a_day_within_the_days_of_the_reference_does_not_violate(world) -> None:
    def with_days(value: float) -> dict[tuple[str, str], DriftComparison]:
        days = ReferenceDays(
            definition_digest=world.package.definition.digest,
            days=(DAY - timedelta(days=60),),
            values={"x0": {"psi": (value,), "js": (value,)}},
        )
        world.package = replace(world.package, reference_days=days)
        return compared(world, change=warmer)

    assert with_days(50.0)["x0", "psi"].reference_bound == 50.0
    assert {where for where in violated(with_days(50.0)) if where[0] == "x0"} == set()
    assert {where for where in violated(with_days(0.01)) if where[0] == "x0"} == {("x0", "psi"), ("x0", "js")}


def test_without_a_usable_reference_day_nothing_is_judged(world) -> None:
    empty = ReferenceDays(definition_digest="", days=(), values={})
    world.package = replace(world.package, reference_days=empty)
    manifest = world.score(DAY, 300, change=warmer)
    found = compare_day(world.spec, world.package, manifest, world.profile(manifest))
    assert not any(one.violated for one in found)
    assert {one.not_judged for one in found} == {"no reference day of the model has 200 rows (monitoring.min_rows)"}


def test_the_table_tells_the_bound_where_there_is_one(world) -> None:
    days = ReferenceDays(
        definition_digest=world.package.definition.digest, days=(DAY,), values={"x0": {"psi": (0.5, 0.7)}}
    )
    package = replace(world.package, reference_days=days)
    manifest = world.score(DAY)
    write_drift(world.lake, world.spec, manifest, compare_day(world.spec, package, manifest, world.profile(manifest)))
    rows = world.lake.read("shop__drift").to_pylist()
    bounds = {(row["column_name"], row["metric"]): row["reference_bound"] for row in rows}
    assert bounds.pop(("x0", "psi")) == 0.7
    assert set(bounds.values()) == {None}


def test_a_small_excess_needs_evidence(world) -> None:
    def a_few_nulls(table: pa.Table) -> pa.Table:
        missing = np.arange(table.num_rows) % 9 == 0
        return column(table, "x2", pa.array(np.ones(table.num_rows), mask=missing))

    few, many = (compared(world, rows=rows, change=a_few_nulls)["x2", "null_share"] for rows in (220, 20_000))
    assert few.value > few.threshold
    assert not few.violated
    assert many.violated


def test_rows_of_the_day_are_replaced_and_other_days_stay(world) -> None:
    for day, change in ((DAY, None), (NEXT, None), (DAY, warmer)):
        manifest = world.score(day, change=change)
        write_drift(
            world.lake, world.spec, manifest, compare_day(world.spec, world.package, manifest, world.profile(manifest))
        )
    rows = world.lake.read("shop__drift").to_pylist()
    keys = [(row["score_date"], row["column_name"], row["metric"]) for row in rows]
    assert len(keys) == len(set(keys))
    generations = {row["score_date"]: row["generation"] for row in rows}
    assert generations == {DAY: 2, NEXT: 1}
    one = rows[0]
    assert [one[name] for name in ("window_start", "window_end", "granularity")] == [*[one["score_date"]] * 2, "1 day"]
    assert (one["drift_type"], one["slice_key"], one["model_id"]) == ("baseline", None, "shop/1")


def test_a_foreign_package_is_refused(world, tmp_path) -> None:
    manifest = world.score(DAY)
    other = make_package(tmp_path / "other", seed=1)
    with pytest.raises(PackageError, match="was given to compare"):
        compare_day(world.spec, other, manifest, world.profile(manifest))


def test_a_profile_of_another_definition_is_refused(world) -> None:
    manifest = world.score(DAY)
    foreign = world.profile(manifest).model_copy(update={"definition_digest": "0" * 64})
    with pytest.raises(PackageError, match="counted by definition"):
        compare_day(world.spec, world.package, manifest, foreign)


def test_who_wants_no_drift_check_says_so_and_days_are_not_judged() -> None:
    assert not_judged(None, 10**6, Monitoring()) == ""
    reason = not_judged(None, 10**6, Monitoring(judge_drift=False))
    assert reason == "1000000 rows; monitoring.judge_drift is off"
