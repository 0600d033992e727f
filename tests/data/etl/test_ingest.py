from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tallywright.data.delta.lake import Lake
from tallywright.data.etl import sources
from tallywright.data.etl.ingest import ingest
from tallywright.data.inputs.versions import input_version
from tallywright.data.snapshot import read_split, take_snapshot
from tallywright.errors import InputError, IntegrityError, StorageError, TallyError, UsageError
from tallywright.lifecycle.cleanup import clean_up
from tallywright.observability import at_failpoint

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 5)
TABLES = ["shop__features", "shop__inputs", "shop__labels", "shop__quarantine", "shop__label_readings"]


def versions(lake):
    return {table: lake.open(table).version() for table in lake.tables()}


def run(shop, first=FIRST, last=LAST):
    return ingest(shop.project(), shop.lake, first, last)


def refused(shop, message, first=FIRST, last=LAST, kind=InputError):
    """The run is refused with this message and leaves every table as it was."""
    before = versions(shop.lake)
    with pytest.raises(kind, match=message) as caught:
        run(shop, first, last)
    assert versions(shop.lake) == before
    return str(caught.value)


def test_a_range_is_one_commit_a_day_and_table(shop):
    seen = []
    done = ingest(shop.project(), shop.lake, FIRST, LAST, progress=seen.append)
    assert seen == done
    assert [day.score_date for day in done] == [FIRST + timedelta(days=number) for number in range(5)]
    assert [(day.rows, day.quarantined, day.labels, day.unlabelled) for day in done] == [(10, 0, 10, 0)] * 5
    assert [day.version for day in done] == [1, 2, 3, 4, 5]
    assert versions(shop.lake) == dict(zip(TABLES, [5, 5, 5, 0, 1], strict=True))
    features = shop.lake.read("shop__features", where={"score_date": FIRST})
    assert features.schema.field("score_moment").type == pa.timestamp("us", "UTC")
    assert features["id"].to_pylist() == sorted(features["id"].to_pylist())
    assert features["score_moment"][0].as_py() == datetime(2024, 1, 1, tzinfo=UTC)
    labels = shop.lake.read("shop__labels", where={"score_date": FIRST}).to_pylist()
    assert labels[1] == {"id": "o1", "score_date": FIRST, "bad": 1, "label_status": "known",
                         "label_time": datetime(2024, 1, 1, 18, tzinfo=UTC)}  # fmt: skip


def test_equal_content_makes_no_commit_however_it_is_asked(shop):
    run(shop)
    before = versions(shop.lake)
    shop.lines.reverse()
    for first, last in [(FIRST, LAST), (date(2024, 1, 3), date(2024, 1, 3)), (date(2024, 1, 2), LAST)]:
        assert not any(day.changed for day in run(shop, first, last))
    assert versions(shop.lake) == before


def test_a_restated_day_changes_that_day_alone(shop):
    first = run(shop)
    shop.lines[25] = shop.order(25, "2024-01-03", amount=1000.0)
    second = run(shop)
    assert [day.changed for day in second] == [False, False, True, False, False]
    assert [day.version for day in second] == [1, 2, 6, 4, 5]
    assert second[2].fingerprint != first[2].fingerprint
    assert versions(shop.lake) == dict(zip(TABLES, [6, 6, 5, 0, 1], strict=True))


def test_late_labels_do_not_touch_the_features(shop):
    shop.lines[3] = shop.order(3, "2024-01-01", outcome=None, known_at=None)
    assert run(shop)[0].unlabelled == 1
    before = versions(shop.lake)
    shop.lines[3] = shop.order(3, "2024-01-01", known_at="2024-01-04 10:00:00")
    [day] = run(shop, FIRST, FIRST)
    assert (day.changed, day.labels, day.unlabelled) == (False, 10, 0)
    assert versions(shop.lake) == before | {"shop__labels": 6, "shop__label_readings": 2}


def test_rejected_rows_go_to_quarantine_with_reason_and_content(shop):
    shop.lines[0] = shop.order(0, "2024-01-01", amount=None)
    assert [day.quarantined for day in run(shop)] == [1, 0, 0, 0, 0]
    [row] = shop.lake.read("shop__quarantine").to_pylist()
    assert (row["score_date"], row["reason"]) == (FIRST, "no amount")
    assert json.loads(row["raw_row"])["id"] == "o0"
    shop.lines[0] = shop.order(0, "2024-01-01")
    run(shop)
    assert shop.lake.read("shop__quarantine").num_rows == 0


def test_a_bad_day_stops_the_range_and_keeps_the_days_before_it(shop):
    del shop.lines[20:30]
    message = (
        "no rows for date 2024-01-03; nothing of it was changed; the 2 days before it are ingested, 2 of them anew"
    )
    with pytest.raises(InputError, match=message):
        run(shop)
    assert {file.day for file in shop.lake.files("shop__features")} == {FIRST, date(2024, 1, 2)}
    assert versions(shop.lake) == dict(zip(TABLES, [2, 2, 2, 0, 1], strict=True))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (", amount\n", "\n", "missing column amount"),
        (", amount\n", ", amount, 1 AS more\n", "unknown column more"),
        (" amount\n", " CAST(amount AS BIGINT) AS amount\n", "column amount is BIGINT, expected DOUBLE"),
        (" amount\n", " NULL AS amount\n", "column amount is NULL .no type., expected DOUBLE"),
        (" amount\n", " CAST(NULL AS DOUBLE) AS amount\n", r"no values in amount \(10 of 10 null\)"),
        ("CAST(score_date AS TIMESTAMP)", "CASE WHEN id > 'o5' THEN CAST(score_date AS TIMESTAMP) END", "score_moment"),
        (" id,", " 'one' AS id,", "1 keys occur more than once, such as id=one"),
        (" id,", " CASE WHEN id <> 'o3' THEN id END AS id,", "1 of 10 rows have no id"),
        ("FROM accepted", "FROM accepted JOIN (SELECT 'a' AS kind) k USING (kind)", "5 rows from 10 accepted ones"),
        ("BETWEEN :from_date", "BETWEEN :lookback_date", "rows have score_date 2024-01-01"),
        ("amount\n", "amnt\n", "amnt"),
        ("amount\n", "amount, FROM\n", "features.sql"),
    ],
)  # fmt: skip
def test_features_that_break_the_contract_change_nothing(shop, old, new, message):
    run(shop)
    assert old in shop.features
    shop.features = shop.features.replace(old, new)
    first = FIRST if "lookback" not in new else date(2024, 1, 3)
    refused(shop, message, first)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("'never'", "'maybe'", "5 rows with a label_status other than"),
        ("CAST(known_at AS TIMESTAMP)", "CAST(NULL AS TIMESTAMP)", "'known' without bad or label_time"),
        ("ELSE 'known'", "ELSE 'never'", "5 rows with 'never' with a bad"),
        (" id,", " id || 'x' AS id,", "10 rows with a key that the features do not have"),
        (" id,", " 'one' AS id,", "occur more than once"),
        ("label_time,", "label_date,", "missing column label_time; unknown column label_date"),
        ("AS INTEGER) AS bad", "AS DATE) AS bad", "labels.sql"),
    ],
)  # fmt: skip
def test_labels_that_break_the_contract_change_nothing(shop, old, new, message):
    shop.lines = [line.replace(",1,2024", ",NA,2024") for line in shop.lines]
    run(shop)
    assert old in shop.labels
    shop.labels = shop.labels.replace(old, new)
    refused(shop, message)


def test_a_sparse_column_may_be_null_for_a_day(shop):
    shop.lines[:10] = [shop.order(number, "2024-01-01", kind=None) for number in range(10)]
    refused(shop, "no values in kind")
    shop.data["sparse_columns"] = ["kind"]
    assert run(shop)[0].rows == 10


@pytest.mark.parametrize(
    ("first", "last", "kind"),
    [
        (date(2023, 12, 31), FIRST, UsageError),
        (FIRST, date(2024, 2, 1), UsageError),
        (LAST, FIRST, UsageError),
        (date(2024, 1, 20), date(2024, 1, 20), InputError),
    ],
)
def test_dates_out_of_range(shop, first, last, kind):
    refused(shop, "2024-01|2023-12", first, last, kind)


def test_raw_files_that_cannot_be_used(shop):
    run(shop)
    shop.data["sources"] = {"orders": {"path": "orders.csv", "types": {"amont": "DOUBLE"}}}
    refused(shop, "no column 'amont' .did you mean 'amount'")
    shop.data["sources"] = {"orders": {"path": "nowhere.csv"}}
    refused(shop, "no file .*nowhere.csv")
    shop.data["sources"] = {"orders": {"path": "x.csv", "package": "no_such_package"}}
    refused(shop, "no_such_package is not installed")


def test_a_work_folder_that_cannot_be_made(shop):
    (shop.folder / "work").write_text("in the way")
    refused(shop, "work", kind=StorageError)


def test_input_version(shop):
    with pytest.raises(InputError, match="tally run shop ingest --date 2024-01-01"):
        input_version(shop.lake, shop.spec(), FIRST)
    done = run(shop)
    with pytest.raises(InputError, match="no input for 2024-01-06"):
        input_version(shop.lake, shop.spec(), date(2024, 1, 6))
    for day in done:
        found = input_version(shop.lake, shop.spec(), day.score_date)
        assert (found.version, found.fingerprint, found.rows) == (day.version, day.fingerprint, day.rows)


def test_the_input_version_outlives_optimize_log_cleanup_and_other_days(shop):
    run(shop)
    expected = input_version(shop.lake, shop.spec(), FIRST)
    for number in range(3):
        shop.lines[45] = shop.order(45, "2024-01-05", amount=float(number))
        run(shop, LAST, LAST)
        shop.lake.open("shop__features").optimize.compact()
    shop.lake.open("shop__features").optimize.z_order(["id"])
    handle = shop.lake.open("shop__features")
    handle.alter.set_table_properties({"delta.logRetentionDuration": "interval 0 seconds"})
    handle = shop.lake.open("shop__features")
    handle.create_checkpoint()
    handle.cleanup_metadata()
    logs = list(Path(shop.lake.uri("shop__features"), "_delta_log").glob("*.json"))
    assert not any(log.name.startswith(f"{1:020}") for log in logs)
    # The files are others, made of the same rows.
    found = input_version(shop.lake, shop.spec(), FIRST)
    assert found.model_copy(update={"files": expected.files}) == expected
    assert not run(shop, FIRST, FIRST)[0].changed


def test_rows_changed_behind_the_back_of_ingest_are_noticed(shop):
    run(shop)
    shop.lake.open("shop__features").delete("score_date = '2024-01-01' AND id = 'o1'")
    with pytest.raises(IntegrityError, match="has 9 rows that are not the 10 rows that were ingested"):
        input_version(shop.lake, shop.spec(), FIRST)
    [healed] = run(shop, FIRST, FIRST)
    assert (healed.changed, healed.rows) == (True, 10)
    assert input_version(shop.lake, shop.spec(), FIRST).version == healed.version


_SCRIPT = """
import sys, pickle
from datetime import date
from tallywright.data.etl.ingest import ingest
from tallywright.data.delta.lake import Lake
project = pickle.loads(bytes.fromhex(sys.stdin.read()))
ingest(project, Lake.of(project.environment), date(2024, 1, 1), date(2024, 1, 2))
"""


@pytest.mark.parametrize("place", ["ingest-features", "ingest-committed"])
def test_a_kill_between_the_writes_is_repaired(shop, place):
    if place == "ingest-committed":
        run(shop, FIRST, FIRST)
        shop.lines[5] = shop.order(5, "2024-01-01", amount=77.0)
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        input=pickle.dumps(shop.project()).hex(), text=True, check=False,
        env=os.environ | {"TALLYWRIGHT_KILL_AT": place},
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    if place == "ingest-committed":  # the commit is there, its record is of the content before
        found = input_version(shop.lake, shop.spec(), FIRST)
        assert found.version == 2
        [record] = shop.lake.read("shop__inputs").to_pylist()
        assert (record["version"], record["fingerprint"]) == (2, found.fingerprint)
        assert run(shop, FIRST, FIRST)[0].model_dump(include={"version", "fingerprint", "changed"}) == {
            "version": 2, "fingerprint": found.fingerprint, "changed": False,
        }  # fmt: skip
    assert [day.rows for day in run(shop)] == [10] * 5


def test_two_processes_that_ingest_the_same_days(shop):
    run(shop, FIRST, FIRST)
    shop.lines[5] = shop.order(5, "2024-01-01", amount=77.0)
    text = pickle.dumps(shop.project()).hex()
    both = [subprocess.Popen([sys.executable, "-c", _SCRIPT], stdin=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        process.stdin.write(text)
    for process in both:
        process.stdin.close()
    assert [process.wait(60) for process in both] == [0, 0]
    assert shop.lake.open("shop__features").version() == 3
    assert [day.changed for day in run(shop, FIRST, date(2024, 1, 2))] == [False, False]


def test_a_table_made_anew_does_not_believe_old_records(shop):
    run(shop, FIRST, FIRST)
    shutil.rmtree(shop.lake.uri("shop__features"))
    shop.lines[5] = shop.order(5, "2024-01-01", amount=77.0)
    [day] = run(shop, FIRST, FIRST)
    assert (day.version, day.changed) == (1, True)
    assert input_version(shop.lake, shop.spec(), FIRST).fingerprint == day.fingerprint


def test_a_new_feature_column_restates_the_days_it_is_ingested_for(shop):
    run(shop)
    shop.features = shop.features.replace(" amount\n", " amount, amount * 2 AS twice\n")
    shop.data["columns"] = shop.spec().data.columns | {"twice": "DOUBLE"}
    assert run(shop, LAST, LAST)[0].changed
    old = shop.lake.read("shop__features", where={"score_date": FIRST}, columns=["twice"])
    assert old["twice"].null_count == 10
    assert input_version(shop.lake, shop.spec(), FIRST).version == 1


def test_sources_are_staged_once_by_content(shop):
    run(shop)
    staged = shop.folder / "work" / "raw"
    [first] = staged.iterdir()
    before = first.stat().st_mtime_ns
    run(shop)
    assert [path.stat().st_mtime_ns for path in staged.iterdir()] == [before]
    shop.lines.append(shop.order(99, "2024-01-06"))
    run(shop)
    assert len(list(staged.iterdir())) == 2


def test_parquet_sources_and_globs(shop):
    (shop.folder / "raw").mkdir()
    for number, part in enumerate([shop.lines[:20], shop.lines[20:]]):
        pq.write_table(shop.table(part), shop.folder / "raw" / f"part-{number}.parquet")
    shop.data["sources"] = {"orders": {"path": "raw/*.parquet", "format": "parquet"}}
    assert [day.rows for day in run(shop)] == [10] * 5
    shop.data["sources"] = {"orders": {"path": "raw", "format": "parquet"}}
    assert not any(day.changed for day in run(shop))


def test_a_damaged_zip(shop):
    (shop.folder / "orders.csv.zip").write_bytes(b"PK no zip")
    shop.data["sources"] = {"orders": {"path": "orders.csv.zip"}}
    message = refused(shop, "damaged", kind=TallyError)
    assert "orders.csv.zip" in message


TYPED = {"sources": {"orders": {"path": "orders.csv", "types": {"amount": "DOUBLE", "outcome": "INTEGER"}}}}


@pytest.mark.parametrize(
    ("task", "kind", "bad", "said", "expected"),
    [
        ({}, "INTEGER", "CASE WHEN id = 'o21' THEN 2 ELSE outcome END", "'2' in 1 rows", "0 and 1"),
        ({}, "DOUBLE", "CASE WHEN id = 'o21' THEN 0.5 ELSE CAST(outcome AS DOUBLE) END", "'0.5' in 1 rows", "0 and 1"),
        ({}, "VARCHAR", "CASE outcome WHEN 1 THEN 'yes' ELSE 'no' END", "'no' in 5 rows, 'yes' in 5 rows", "0 and 1"),
        (
            {"positive": "yes"},
            "VARCHAR",
            "CASE WHEN id = 'o21' THEN 'maybe' WHEN outcome = 1 THEN 'yes' ELSE 'no' END",
            "'no' in 5 rows, 'maybe' in 1 rows",
            "'yes' and one other class",
        ),
        ({"task": "multiclass"}, "INTEGER", "CASE WHEN id = 'o21' THEN -1 ELSE outcome END", "'-1' in 1 rows", "whole"),
        (
            {"task": "multiclass"},
            "DOUBLE",
            "CASE WHEN id = 'o21' THEN 0.5 ELSE outcome END",
            "'0.5' in 1 rows",
            "whole",
        ),
        ({"task": "regression"}, "VARCHAR", "'long'", "'long' in 10 rows", "a finite number"),
        ({"task": "regression"}, "DOUBLE", "CASE WHEN id = 'o21' THEN 'inf' ELSE '1' END", "'inf' in 1 rows", "finite"),
    ],
)
def test_a_value_that_is_no_label_refuses_its_day_and_no_other(shop, task, kind, bad, said, expected):
    shop.training, shop.data = task, TYPED
    shop.labels = shop.labels.replace("CAST(outcome AS INTEGER)", f"CAST({bad} AS {kind})")
    whole_range = "o21" not in bad
    with pytest.raises(InputError, match="no label of a") as caught:
        run(shop)
    assert said in caught.value.found
    assert expected in caught.value.expected
    assert ("positive" in caught.value.remedy and "yes" in said) is (kind == "VARCHAR" and not task)
    assert caught.value.exit_code == 4
    if whole_range:
        assert "5 of 5 days are refused: shop__labels of 2024-01-01: bad has" in caught.value.found
    else:
        assert caught.value.found.startswith("shop__labels of 2024-01-03: bad has values")
    days = {FIRST + timedelta(days=number) for number in range(5)} - {date(2024, 1, 3)}
    ingested = {file.day for file in shop.lake.files("shop__features")} if shop.lake.find("shop__features") else set()
    assert ingested == (set() if whole_range else days)


@pytest.mark.parametrize(
    ("task", "outcome", "values"),
    [
        ({}, "outcome", {0, 1}),
        ({}, "outcome = 1", {0, 1}),
        ({"positive": "yes"}, "CASE outcome WHEN 1 THEN 'yes' ELSE 'no' END", {"yes", "no"}),
        ({"positive": "2"}, "outcome + 1", {1, 2}),
        ({"task": "multiclass"}, "CASE outcome WHEN 1 THEN 'ja' ELSE 'weiß nicht' END", {"ja", "weiß nicht"}),
        ({"task": "multiclass"}, "CAST(outcome AS DOUBLE)", {0.0, 1.0}),
        ({"task": "regression"}, "amount", {index * 1.5 for index in range(10)}),
    ],
)
def test_labels_of_a_task_are_ingested_as_they_are(shop, task, outcome, values):
    shop.training, shop.data = task, TYPED
    shop.labels = shop.labels.replace("CAST(outcome AS INTEGER)", f"({outcome})")
    run(shop, FIRST, FIRST)
    assert set(shop.lake.read("shop__labels")["bad"].to_pylist()) == values


def test_nan_is_no_label_whatever_its_status(shop):
    """A known NaN is missing, as if its row had not come yet; one that never comes keeps its status."""
    shop.data = TYPED
    shop.labels = shop.labels.replace(
        "CAST(outcome AS INTEGER)", "CASE WHEN id IN ('o1', 'o2', 'o3', 'o4') THEN 'nan'::DOUBLE ELSE outcome END"
    ).replace("outcome IS NULL", "id = 'o4'")
    [day, *_] = run(shop)
    assert (day.rows, day.labels, day.unlabelled) == (10, 6, 4)
    rows = {row["id"]: row for row in shop.lake.read("shop__labels", where={"score_date": FIRST}).to_pylist()}
    assert rows.keys() == {"o0", *(f"o{number}" for number in range(4, 10))}
    assert (rows["o4"]["bad"], rows["o4"]["label_status"]) == (None, "never")


def test_nan_in_a_table_of_before_is_not_trained_on(shop):
    shop.training = {"task": "regression"}
    shop.labels = shop.labels.replace("CAST(outcome AS INTEGER)", "amount")
    run(shop)
    day = date(2024, 1, 2)
    labels = shop.lake.read("shop__labels", where={"score_date": day})
    values = labels["bad"].to_pylist()
    values[2] = float("nan")
    changed = labels.set_column(labels.column_names.index("bad"), "bad", pa.array(values, pa.float64()))
    shop.lake.replace("shop__labels", changed, slice={"score_date": day}, partition_by=("score_date",))
    project = shop.project()
    snapshot = take_snapshot(project, shop.lake, date(2024, 1, 6))
    assert snapshot.train_from == date(2024, 1, 2)
    assert read_split(project, shop.lake, snapshot, "train").num_rows == 19


# --- Raw files that change ---------------------------------------------------------------------------------------


def staged(shop):
    return sorted((shop.folder / "work" / "raw").glob("*.parquet"))


def test_what_is_staged_under_a_digest_has_it(shop, monkeypatch):
    """The raw file is replaced between its digest and its copy; then the old one comes back."""
    before = [shop.order(number, "2024-01-01") for number in range(10)]
    after = [shop.order(number, "2024-01-01", amount=number * 9.0) for number in range(10)]
    file, text = shop.folder / "orders.csv", "\n".join(["id,day,amount,kind,outcome,known_at", *after]) + "\n"
    for name in ("content_digest", "_copied", "_copy"):
        shop.lines = before
        project = shop.project()
        inner, waiting = getattr(sources, name), [text]

        def replacing(*arguments, inner=inner, waiting=waiting, name=name):
            if name == "_copied" and waiting:
                file.write_text(waiting.pop())
            found = inner(*arguments)
            if waiting:
                file.write_text(waiting.pop())
            return found

        with monkeypatch.context() as patched:
            patched.setattr(sources, name, replacing)
            ingest(project, shop.lake, FIRST, FIRST)
        assert shop.lake.read("shop__features")["amount"].to_pylist()[1] == 9.0, name
        project = shop.project()
        [day] = ingest(project, shop.lake, FIRST, FIRST)
        assert day.changed
        assert shop.lake.read("shop__features")["amount"].to_pylist()[1] == 1.5, name
        for path in staged(shop):
            path.unlink()


def test_a_raw_file_that_never_rests_is_named(shop, monkeypatch):
    file, unpacked = shop.folder / "orders.csv", sources._copied

    def growing(*arguments):
        found = unpacked(*arguments)
        with file.open("a") as raw:
            raw.write(shop.order(len(file.read_text()), "2024-01-02") + "\n")
        return found

    monkeypatch.setattr(sources, "_copied", growing)
    with pytest.raises(InputError, match=r"orders\.csv changed each of 3 times"):
        run(shop)
    assert shop.lake.tables() == []


def test_the_record_of_an_input_names_what_was_read(shop):
    run(shop)
    [first] = shop.lake.read("shop__inputs", where={"score_date": FIRST}).to_pylist()
    shop.lines[3] = shop.order(3, "2024-01-01", amount=1000.0)
    run(shop)
    [second] = shop.lake.read("shop__inputs", where={"score_date": FIRST}).to_pylist()
    assert (first["reading"], second["reading"]) == (1, 2)
    assert len(first["raw_digest"]) == 64
    assert first["raw_digest"] != second["raw_digest"]


@pytest.mark.parametrize("point", ["ingest-quarantine", "ingest-labels", "ingest-features", "before-features"])
def test_an_older_reading_never_goes_over_a_newer_one(shop, point):
    def state(number):
        shop.lines = [
            shop.order(one, "2024-01-01", amount=float(number), known_at=f"2024-01-01 {number:02d}:00:00")
            for one in range(5)
        ] + [shop.order(9, "2024-01-01", amount=None, outcome=number)]

    state(1)
    run(shop, FIRST, FIRST)
    state(2)
    held = shop.project()

    def newer():
        state(3)
        run(shop, FIRST, FIRST)

    waiting = [newer]
    token = at_failpoint.set(lambda name: waiting.pop()() if name == point and waiting else None)
    try:
        ingest(held, Lake.of(held.environment), FIRST, FIRST)
    finally:
        at_failpoint.reset(token)
    assert set(shop.lake.read("shop__features")["amount"].to_pylist()) == {3.0}
    assert {moment.hour for moment in shop.lake.read("shop__labels")["label_time"].to_pylist()} == {3}
    [row] = shop.lake.read("shop__quarantine").to_pylist()
    assert json.loads(row["raw_row"])["outcome"] == "3"


def test_raw_files_that_changed_before_the_commit_are_read_again(shop):
    """Nobody else ingests: what was read is no longer what lies there when it is written."""
    shop.lines = [shop.order(0, "2024-01-01", amount=1.0)]
    held = shop.project()

    def deliver():
        shop.lines = [shop.order(0, "2024-01-01", amount=2.0)]
        shop.project()

    waiting = [deliver]
    token = at_failpoint.set(lambda name: waiting.pop()() if name == "ingest-features" and waiting else None)
    try:
        [day] = ingest(held, shop.lake, FIRST, FIRST)
    finally:
        at_failpoint.reset(token)
    assert day.changed
    assert shop.lake.read("shop__features")["amount"].to_pylist() == [2.0]


def test_old_staged_files_go_with_maintenance(shop):
    for number in range(5):
        shop.lines.append(shop.order(500 + number, "2024-01-05"))
        run(shop, LAST, LAST)
    files = {path: path.stat().st_size for path in staged(shop)}
    assert len(files) == 5
    swept = clean_up(shop.project(), datetime.now(UTC), retention=timedelta(days=30), orphan_age=timedelta(days=7))
    left = staged(shop)
    assert (swept.raw, len(left)) == (3, 2)
    assert swept.freed_bytes == sum(size for path, size in files.items() if path not in left)
    assert not any(day.changed for day in run(shop, LAST, LAST))
    assert staged(shop) == left


def test_a_staged_file_that_was_exchanged_is_not_read(shop):
    """The work folder may be open to others: what is staged under a digest is compared with what was made."""
    run(shop, FIRST, FIRST)
    stored = shop.lake.read("shop__features")
    [file] = staged(shop)
    rows = pq.read_table(file)
    forged = rows.set_column(rows.column_names.index("amount"), "amount", pa.array([9e9] * rows.num_rows))
    pq.write_table(forged, file)
    assert [day.changed for day in run(shop, FIRST, FIRST)] == [False]
    assert shop.lake.read("shop__features").equals(stored)
    assert pq.read_table(file).equals(rows)


def test_a_staged_file_without_a_note_is_staged_again(shop):
    """As after an upgrade, or where the cache folder was emptied."""
    run(shop)
    [file] = staged(shop)
    [note] = (shop.folder / "cache" / "staged").iterdir()
    first = file.stat().st_ino
    note.unlink()
    run(shop)
    again = file.stat().st_ino
    assert again != first
    run(shop)
    assert file.stat().st_ino == again
