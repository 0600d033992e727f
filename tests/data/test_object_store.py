"""The lake on a real S3-compatible store: refusals, races, kills, ends of processes; what works stands in test_lake."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pyarrow as pa
import pytest
from object_store import KEY, SECRET, Bucket
from pyarrow import fs
from signed_requests import signed_put

from tallywright.data.delta.lake import Change, Lake
from tallywright.data.etl.ingest import ingest
from tallywright.data.query import query
from tallywright.data.snapshot import read_split, take_snapshot
from tallywright.data.storage.filesystem import filesystem_of
from tallywright.data.upkeep.probe import probe_store
from tallywright.errors import CommitConflictError, SpecError, StorageError, TallyError

DAY = date(2024, 1, 1)
LIMIT_SECONDS = 30


def rows(*keys):
    return pa.table({"score_date": pa.array([DAY] * len(keys), pa.date32()), "k": pa.array(keys, pa.string())})


def put(lake, *keys, **more):
    return lake.replace("t", rows(*keys), slice={"score_date": DAY}, partition_by=["score_date"], **more)


def keys(lake):
    return sorted(lake.read("t", columns=["k"])["k"].to_pylist())


@pytest.fixture
def lake(bucket):
    return Lake(f"{bucket.address}/lake", bucket.options)


def test_the_store_lets_exactly_one_conditional_put_win(bucket):
    """What the commits rest on, asked of the store directly."""
    with ThreadPoolExecutor(2) as pool:
        for number in range(100):
            barrier = threading.Barrier(2)

            def put_one(writer, path=f"/{bucket.name}/log/{number:020}.json", barrier=barrier):
                barrier.wait()
                return signed_put(bucket.options["AWS_ENDPOINT_URL"], path, f"{writer}".encode(), once=True)

            found = Counter(pool.map(put_one, range(2)))
            assert found == {http.client.OK: 1, http.client.PRECONDITION_FAILED: 1}


def test_a_lake_below_a_prefix_holds_its_tables_and_nothing_else(bucket, lake):
    assert lake.tables() == []
    put(lake, "a")
    put(Lake(f"{bucket.address}/other", bucket.options), "b")
    assert lake.tables() == ["t"]
    assert {key.split("/")[0] for key in bucket.objects()} == {"lake", "other"}
    assert Lake(bucket.address, bucket.options).tables() == []


def test_credentials_may_come_from_the_environment_alone(bucket, lake, monkeypatch):
    put(lake, "a")
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    assert keys(Lake(lake.root)) == ["a"]
    assert query(Lake(lake.root), "SELECT k FROM t").to_pylist() == [{"k": "a"}]


def refusals(lake):
    """Every way into the store."""
    return {
        "exists": lambda: lake.exists("t"),
        "tables": lake.tables,
        "open": lambda: lake.open("t"),
        "read": lambda: lake.read("t"),
        "write": lambda: put(lake, "b"),
        "query": lambda: query(lake, "SELECT 1"),
        "probe": lambda: probe_store(lake),
    }


def all_text(error):
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize("wrong", [{"AWS_SECRET_ACCESS_KEY": "wrong-Secret"}, {"AWS_ACCESS_KEY_ID": "nobody"}])
def test_wrong_credentials_are_named_but_not_shown(lake, bucket, wrong):
    put(lake, "a")
    refused = Lake(lake.root, bucket.options | wrong)
    for name, call in refusals(refused).items():
        with pytest.raises(StorageError) as found:
            call()
        assert "credentials" in found.value.remedy, name
        assert "\x1b" not in str(found.value)
        assert SECRET not in all_text(found.value)
        assert "wrong-Secret" not in all_text(found.value)
    assert keys(lake) == ["a"]


def test_a_missing_bucket_is_named_and_not_made(object_store):
    for name, call in refusals(Lake("s3://no-such-bucket/lake", object_store.options())).items():
        with pytest.raises(StorageError, match=r"(?i)no.?such.?bucket") as found:
            call()
        assert "make the bucket" in found.value.remedy, name
    filesystem, _ = filesystem_of("s3://no-such-bucket/lake", object_store.options())
    assert filesystem.get_file_info("no-such-bucket").type == fs.FileType.NotFound


def test_a_store_that_is_away_fails_soon(object_store):
    away = Lake("s3://bucket/lake", object_store.options(AWS_ENDPOINT_URL="http://127.0.0.1:1"))
    for name, call in refusals(away).items():
        began = time.monotonic()
        with pytest.raises(StorageError) as found:
            call()
        assert time.monotonic() - began < LIMIT_SECONDS, name
        assert "AWS_ENDPOINT_URL" in found.value.remedy, name


_ASK = """
import sys
from tallywright.data.delta.lake import Lake
from tallywright.errors import StorageError
lake = Lake(sys.argv[1])
try:
    {"exists": lambda: lake.exists("t"), "tables": lake.tables, "open": lambda: lake.open("t")}[sys.argv[2]]()
except StorageError as error:
    print(error.remedy)
"""


@pytest.mark.slow
@pytest.mark.long
def test_a_store_that_never_answers_fails(bucket):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        options = bucket.options | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        asking = [
            python(_ASK, "s3://bucket/lake", call, bucket=Bucket("bucket", options))
            for call in ("exists", "tables", "open")
        ]
        for process in asking:
            out, err = process.communicate(timeout=90)
            assert process.returncode == 0, err
            assert "AWS_ENDPOINT_URL" in out


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"AWS_ALLOW_HTTP": "false"}, "AWS_ALLOW_HTTP"),
        ({"AWS_ENDPOINT_URL": "127.0.0.1:8333"}, "AWS_ENDPOINT_URL"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_options_that_do_not_fit_together_are_refused_before_anything_is_sent(object_store, wrong, message):
    with pytest.raises(SpecError, match=message):
        filesystem_of("s3://bucket/lake", object_store.options(**wrong))


def test_of_two_commits_from_one_version_one_stands(lake):
    base, stale = lake.handle(Change("t", rows("a"), {"score_date": DAY}, ("score_date",))), lake.open("t")
    lake.commit(Change("t", rows("a"), {"score_date": DAY}), base)
    with pytest.raises(CommitConflictError):
        lake.commit(Change("t", rows("b"), {"score_date": DAY}), stale)
    assert keys(lake) == ["a"]


@pytest.mark.long
@pytest.mark.slow
def test_two_writers_that_race_for_one_date_a_hundred_times(bucket, lake):
    """Each round both decide on the same version: one commit lands, the other is told."""
    change = Change("t", rows("start"), {"score_date": DAY}, ("score_date",))
    lake.handle(change)
    with ThreadPoolExecutor(2) as pool:
        for number in range(100):
            barrier = threading.Barrier(2)

            def race(writer, number=number, barrier=barrier):
                own = Lake(lake.root, bucket.options)
                base = own.open("t")
                assert base.version() == number
                barrier.wait()
                try:
                    return own.commit(Change("t", rows(f"{writer}-{number}"), {"score_date": DAY}), base)
                except CommitConflictError:
                    return None

            ends = list(pool.map(race, range(2)))
            assert sorted(ends, key=str) == [number + 1, None]
            assert keys(lake) == [f"{ends.index(number + 1)}-{number}"]


def test_writers_that_create_one_table_at_once_create_it_once(bucket):
    for number in range(10):
        barrier = threading.Barrier(3)

        def create(writer, root=f"{bucket.address}/lake-{number}", barrier=barrier):
            own = Lake(root, bucket.options)
            barrier.wait()
            put(own, f"{writer}")
            return own

        with ThreadPoolExecutor(3) as pool:
            lake = next(iter(list(pool.map(create, range(3)))))
        history = lake.open("t").history()
        assert [commit["version"] for commit in history if commit["operation"] == "CREATE TABLE"] == [0]
        assert len(history) == 4


_WRITER = """
import json, os, sys, datetime, pyarrow as pa
from tallywright.data.delta.lake import Lake
lake, day = Lake(sys.argv[1]), datetime.date(2024, 1, 1)
print("ready", flush=True)
for number in range(1_000_000):
    data = pa.table({"score_date": pa.array([day] * 200, pa.date32()), "k": [f"{number}"] * 200})
    lake.replace("t", data, slice={"score_date": day}, partition_by=["score_date"])
"""


def python(code, *arguments, bucket, **options):
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={"PATH": "/usr/bin:/bin", "AWS_EC2_METADATA_DISABLED": "true"} | bucket.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.slow
def test_a_killed_writer_leaves_the_old_rows_or_the_new_ones(bucket, lake):
    put(lake, *["start"] * 200)
    for attempt in range(6):
        writer = python(_WRITER, lake.root, bucket=bucket)
        assert writer.stdout.readline() == "ready\n"
        time.sleep(0.05 + 0.037 * attempt)
        writer.kill()
        writer.communicate()
        assert writer.returncode == -signal.SIGKILL
        found = lake.read("t")
        assert found.num_rows == 200
        assert len(set(found["k"].to_pylist())) == 1
        put(lake, *["again"] * 200)
        assert set(keys(lake)) == {"again"}


_SHORT = """
import sys
from tallywright.data.delta.lake import Lake
from tallywright.data.query import query
lake = Lake(sys.argv[1])
print(lake.tables(), lake.read("t").num_rows, query(lake, "SELECT count(*) n FROM t").to_pylist())
kept = lake.open("t"), query(lake, "SELECT * FROM t")
if len(sys.argv) > 2:
    raise SystemExit(11)
"""


@pytest.mark.parametrize("attempt", range(3))
def test_a_short_process_ends_cleanly_with_its_own_exit_code(bucket, lake, attempt):
    put(lake, "a", "b")
    ends = []
    for code, extra in ((0, ()), (11, ("fail",))):
        process = python(_SHORT, lake.root, *extra, bucket=bucket)
        out, err = process.communicate(timeout=60)
        ends.append((process.returncode, out, err))
        assert ends[-1] == (code, "['t'] 2 [{'n': 2}]\n", "")


def test_the_probe_leaves_nothing_behind(bucket, lake):
    put(lake, "a")
    before = bucket.objects()
    probe_store(lake)
    assert bucket.objects() == before
    assert lake.tables() == ["t"]


def test_no_error_of_the_lake_shows_a_secret(lake, bucket):
    failures = [lambda: lake.open("nowhere"), lambda: lake.open("t", 99), lambda: query(lake, "SELECT nope FROM t")]
    put(lake, "a")
    for fail in failures:
        with pytest.raises(TallyError) as found:
            fail()
        assert SECRET not in all_text(found.value)
        assert KEY not in str(found.value)


def test_ingest_and_snapshot_are_the_same_on_a_store_and_on_a_disk(shop, bucket):
    first, last = date(2024, 1, 1), date(2024, 1, 5)
    local = ingest(shop.project(), shop.lake, first, last)
    local_snapshot = take_snapshot(shop.project(), shop.lake, date(2024, 1, 6))
    split = read_split(shop.project(), shop.lake, local_snapshot, "train")
    shop.storage = {"lake": f"{bucket.address}/lake", "options": bucket.options}
    assert ingest(shop.project(), shop.lake, first, last) == local
    assert take_snapshot(shop.project(), shop.lake, date(2024, 1, 6)) == local_snapshot
    assert read_split(shop.project(), shop.lake, local_snapshot, "train").equals(split)
    again = ingest(shop.project(), shop.lake, first, last)
    assert [(day.version, day.changed) for day in again] == [(day.version, False) for day in local]
    tables = {"features", "inputs", "label_readings", "labels", "quarantine"}
    assert set(shop.lake.tables()) == {f"shop__{table}" for table in tables}
