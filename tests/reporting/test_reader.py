"""`tallywright.scores`: scored rows as Arrow with their provenance, for programs."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable
from shared import shared
from synthetic import DAY, make_features, make_package, make_project, make_request, put_day, read_scores

import tallywright
from tallywright.data.delta.lake import Lake
from tallywright.errors import InputError, IntegrityError, TableContractError, UsageError
from tallywright.scoring.day import score_day

DAYS = [DAY + timedelta(days=offset) for offset in range(4)]
SCORED = [DAYS[0], DAYS[1], DAYS[3]]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Three scored days, one of them twice, and a day between them that was never scored."""
    root = tmp_path_factory.mktemp("reader")
    made = make_project(root)
    lake, package = Lake.of(made.environment), make_package(root / "package")
    for rows, day in enumerate((*SCORED, DAYS[1]), start=100):
        pinned = put_day(lake, made.spec, make_features(rows, seed=rows), day=day)
        score_day(make_request(lake, made.spec, pinned, package))
    shared(root)
    return made


@pytest.fixture
def lake(project):
    return Lake.of(project.environment)


def told(table: pa.Table) -> dict:
    return json.loads(table.schema.metadata[b"tallywright"])


def test_a_day_comes_as_it_was_committed_with_its_provenance(project, lake) -> None:
    rows = tallywright.scores("shop", DAYS[1], root=project.root)
    wanted = read_scores(lake, project.spec, DAYS[1])
    assert rows.select(sorted(rows.column_names)).sort_by("order_id").replace_schema_metadata(None).equals(wanted)
    assert {"order_id", "score_date", "probability", "model_version", "role", "input_version"} <= {*rows.column_names}
    provenance = told(rows)
    assert provenance["model"] == "shop"
    assert provenance["table"] == "shop__scores"
    assert provenance["version"] == lake.look("shop__scores").version()
    (tally,) = provenance["tallies"].values()
    assert (tally["generation"], tally["rows"], tally["score_date"]) == (2, rows.num_rows, str(DAYS[1]))
    assert len(tally["models"][0]["digest"]) == 64


def test_a_range_and_several_dates_come_in_order_each_date_once(project) -> None:
    asked = {
        "range": tallywright.scores("shop", str(DAYS[0]), to=DAYS[3], allow_missing=True, root=project.root),
        "dates": tallywright.scores("shop", [DAYS[3], str(DAYS[0]), DAYS[1], DAYS[0]], root=str(project.root)),
        "set": tallywright.scores("shop", {*SCORED}, root=project.root),
    }
    for rows in asked.values():
        assert pc.unique(rows["score_date"]).to_pylist() == SCORED
        assert rows.equals(asked["range"])
        assert [*told(rows)["tallies"]] == [str(day) for day in SCORED]
        assert rows.num_rows == sum(tally["rows"] for tally in told(rows)["tallies"].values())


def test_columns_are_chosen_in_order(project) -> None:
    rows = tallywright.scores("shop", SCORED, columns=["role", "prediction"], root=project.root)
    assert rows.column_names == ["role", "prediction"]
    with pytest.raises(TableContractError, match="no column 'scor'"):
        tallywright.scores("shop", SCORED, columns=["role", "scor"], root=project.root)
    with pytest.raises(UsageError, match="columns"):
        tallywright.scores("shop", SCORED, columns="role", root=project.root)


def test_what_was_never_scored_is_an_error_unless_it_may_be_missing(project) -> None:
    with pytest.raises(InputError, match=f"no tally of 1 of the 4 dates: {DAYS[2]}"):
        tallywright.scores("shop", DAYS[0], to=DAYS[3], root=project.root)
    nothing = tallywright.scores("shop", DAYS[2], allow_missing=True, root=project.root)
    assert nothing.num_rows == 0
    assert nothing.schema.equals(tallywright.scores("shop", DAYS[0], root=project.root).schema)
    assert told(nothing)["tallies"] == {}


@pytest.mark.parametrize(
    ("dates", "options"),
    [
        ("2024-3-1", {}),
        ("20240301", {}),
        (datetime(2024, 3, 1), {}),  # noqa: DTZ001 - whatever its zone
        (20240301, {}),
        ([], {}),
        ([DAY, None], {}),
        ([DAY], {"to": DAY}),
        (DAY, {"to": DAY - timedelta(days=1)}),
        (DAY, {"to": "tomorrow"}),
    ],
)
def test_dates_that_are_none(project, dates, options) -> None:
    with pytest.raises(UsageError):
        tallywright.scores("shop", dates, root=project.root, **options)


def test_a_model_without_scores_and_a_model_that_is_not_there(tmp_path) -> None:
    project = make_project(tmp_path)
    for allowed in (False, True):
        with pytest.raises(InputError, match="shop has no tally"):
            tallywright.scores("shop", DAY, allow_missing=allowed, root=project.root)
    with pytest.raises(UsageError, match="did you mean 'shop'"):
        tallywright.scores("shoq", DAY, root=project.root)


def test_the_project_is_found_as_the_command_line_finds_it(project, monkeypatch) -> None:
    monkeypatch.chdir(project.root / "models/shop")
    assert tallywright.scores("shop", DAY).num_rows
    monkeypatch.chdir("/")
    with pytest.raises(UsageError):
        tallywright.scores("shop", DAY)
    monkeypatch.setenv("TALLYWRIGHT_ROOT", str(project.root))
    assert tallywright.scores("shop", DAY).num_rows


def test_rows_that_another_writer_has_added_are_never_served(tmp_path) -> None:
    project = make_project(tmp_path)
    lake = Lake.of(project.environment)
    pinned = put_day(lake, project.spec, make_features(50))
    score_day(make_request(lake, project.spec, pinned, make_package(tmp_path / "package")))
    rows = lake.read("shop__scores")
    DeltaTable(lake.uri("shop__scores")).merge(
        rows.slice(0, 5), "s.order_id = t.order_id AND false", source_alias="s", target_alias="t"
    ).when_not_matched_insert_all().execute()
    with pytest.raises(IntegrityError, match=r"2024-03-01 of shop .* generation 1 .*the file .* was added by another"):
        tallywright.scores("shop", DAY, root=project.root)
    score_day(make_request(lake, project.spec, pinned, make_package(tmp_path / "package")))
    assert tallywright.scores("shop", DAY, root=project.root).num_rows == 50


def test_rows_that_compaction_has_moved_are_the_committed_ones(tmp_path) -> None:
    project = make_project(tmp_path)
    lake = Lake.of(project.environment)
    pinned = put_day(lake, project.spec, make_features(50))
    score_day(make_request(lake, project.spec, pinned, make_package(tmp_path / "package")))
    before = tallywright.scores("shop", DAY, root=project.root)
    table = DeltaTable(lake.uri("shop__scores"))
    table.optimize.z_order(["order_id"])
    after = tallywright.scores("shop", DAY, root=project.root)
    assert after.sort_by("order_id").equals(before.sort_by("order_id"))


def test_reading_loads_nothing_heavy(project) -> None:
    code = (
        "import json, sys, tallywright\n"
        "before = {name.partition('.')[0] for name in sys.modules}\n"
        f"rows = tallywright.scores('shop', '{DAY}', root='{project.root}')\n"
        "after = {name.partition('.')[0] for name in sys.modules}\n"
        "print(json.dumps([sorted(before), sorted(after), rows.num_rows]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after, rows = json.loads(done.stdout)
    assert rows
    assert not {"pyarrow", "deltalake", "pydantic", "numpy", "yaml"} & {*before}
    assert not {"pandas", "duckdb", "mlflow", "torch", "airflow", "onnxruntime", "great_expectations"} & {*after}


def test_the_package_says_what_is_public() -> None:
    assert {"scores", "__version__"} <= {*dir(tallywright)}
    assert not hasattr(tallywright, "no_such_name")
