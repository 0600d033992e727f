"""Cutting, the output gate, the reasons, and what verification does not let through."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic import make_features

from tallywright.data.delta.rows import table_of
from tallywright.data.storage.filesystem import filesystem_of
from tallywright.errors import InputError, IntegrityError, StorageError, TableContractError
from tallywright.scoring.commit.verify import part_path, verify_parts
from tallywright.scoring.engines.local import engine
from tallywright.scoring.prepare import job_for, pinned_files
from tallywright.scoring.roles.eligibility import assemble
from tallywright.scoring.roles.role_model import broken_rows, problems_in
from tallywright.scoring.worker.fragments import fragments_of, plan_splits
from tallywright.spec.environment import EngineSettings


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(0, 60), min_size=1, max_size=4),
    group=st.integers(1, 30),
    target=st.integers(1, 80),
)
def test_splits_hold_every_row_group_once_and_in_order(tmp_path, sizes, group, target) -> None:
    paths = []
    for index, size in enumerate(sizes):
        paths.append(str(tmp_path / f"part-{index}.parquet"))
        pq.write_table(pa.table({"n": pa.array(range(size), pa.int32())}), paths[-1], row_group_size=group)
    splits = plan_splits(paths[::-1], target_rows=target)
    assert [split.index for split in splits] == list(range(len(splits)))
    cut = [fragment for split in splits for fragment in split.fragments]
    assert cut == [fragment for path in paths for fragment in fragments_of(path, target_rows=target)]
    groups = [(f.path, number) for f in cut for number in range(f.first, f.last)]
    footers = {path: pq.read_metadata(path) for path in paths}
    whole = [(p, n) for p in paths for n in range(footers[p].num_row_groups) if footers[p].row_group(n).num_rows]
    assert groups == whole
    assert sum(split.rows for split in splits) == sum(sizes)
    assert all(split.rows <= max(target, group) for split in splits)


def test_a_file_that_is_no_parquet_is_damaged(tmp_path) -> None:
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(IntegrityError, match="does not end with a Parquet footer"):
        plan_splits([str(tmp_path / "torn.parquet")])


@pytest.mark.parametrize(
    ("name", "values", "kind", "problems"),
    [
        ("probability", [0.0, 1.0, 0.5], pa.float32(), {}),
        ("probability", [0.5, 1.5, -0.1], pa.float32(), {"probability is outside 0..1": 2}),
        ("probability", [float("nan"), 0.5], pa.float32(), {"probability is not finite": 1}),
        ("probability", [None, 0.5], pa.float32(), {"probability is null": 1}),
        ("prediction", [1e30, -5.0], pa.float32(), {}),
        ("prediction", [float("inf")], pa.float32(), {"prediction is not finite": 1}),
        ("prediction", ["a", None], pa.string(), {"prediction is null": 1}),
        ("probabilities", [[0.5, 0.5], [2.0, None]], pa.list_(pa.float32()), {"probabilities is null": 1}),
    ],
)
def test_the_output_gate_counts_what_is_wrong(name, values, kind, problems) -> None:
    batch = pa.record_batch({name: pa.array(values, kind)})
    found = problems_in(batch)
    # Row by row it finds the same.
    rows = [bool(problems_in(batch.slice(row, 1))) for row in range(len(values))]
    assert broken_rows(batch).tolist() == rows
    assert broken_rows(batch.slice(1)).tolist() == rows[1:]
    assert problems.items() <= found.items()
    assert bool(found) == bool(problems)


def test_one_row_holds_what_it_was_given() -> None:
    from datetime import UTC, date, datetime

    values = {"t": "ä🛫", "n": -5, "f": 0.5, "d": date(2024, 2, 29), "i": datetime(2024, 2, 29, 1, 2, 3, 4, UTC)}
    schema = pa.schema(
        {
            "t": pa.string(),
            "n": pa.int64(),
            "f": pa.float64(),
            "d": pa.date32(),
            "i": pa.timestamp("us", "UTC"),
        }
    )
    assert table_of([values], schema).to_pylist() == [values]


on_disk_and_store = pytest.mark.parametrize("shop", ["disk", "store"], indirect=True)


@pytest.fixture
def staged(shop):
    """A scored, uncommitted day: job, input, splits, parts."""
    pinned = shop.put(make_features(200))
    splits, _ = pinned_files(shop.lake, pinned)
    request = shop.request(pinned)
    job = job_for(shop.spec, shop.lake, pinned, assemble(request.candidates))
    return job, pinned, splits, engine(EngineSettings()).score(job, splits, lambda _: None)


@on_disk_and_store
def test_good_parts_pass(staged) -> None:
    job, pinned, splits, parts = staged
    assert verify_parts(job, pinned, splits, parts).rows == 200


@on_disk_and_store
def test_a_part_of_another_size_is_refused(staged) -> None:
    job, pinned, splits, parts = staged
    parts = [parts[0].model_copy(update={"size": parts[0].size + 4})]
    with pytest.raises(StorageError, match="bytes"):
        verify_parts(job, pinned, splits, parts)


@on_disk_and_store
def test_a_part_that_is_gone_is_refused(staged) -> None:
    job, pinned, splits, parts = staged
    moved = [parts[0].model_copy(update={"path": "score_date=2024-03-01/part-gone.parquet"})]
    with pytest.raises(StorageError, match="no bytes"):
        verify_parts(job, pinned, splits, moved)


def test_missing_and_repeated_parts_are_refused(staged) -> None:
    job, pinned, splits, parts = staged
    for wrong in ([], parts * 2):
        with pytest.raises(InputError, match="staged"):
            verify_parts(job, pinned, splits, wrong)


def _rewritten(job, part, change):
    """The part with its table changed, and a manifest that agrees with the new file's size."""
    filesystem, path = filesystem_of(part_path(job, part), job.options)
    rows = pq.ParquetFile(path, filesystem=filesystem).read()
    pq.write_table(change(rows), path, filesystem=filesystem, store_schema=False)
    return part.model_copy(update={"size": filesystem.get_file_info(path).size})


@on_disk_and_store
def test_a_part_of_another_schema_is_refused(staged) -> None:
    job, pinned, splits, parts = staged
    wide = _rewritten(job, parts[0], lambda t: t.set_column(2, "probability", t["probability"].cast(pa.float64())))
    with pytest.raises(TableContractError, match="probability double"):
        verify_parts(job, pinned, splits, [wide])


@on_disk_and_store
def test_a_part_with_other_keys_is_refused(staged) -> None:
    job, pinned, splits, parts = staged

    def swap(table: pa.Table) -> pa.Table:
        keys = table["order_id"].to_pylist()
        return table.set_column(0, "order_id", pa.array(["another", *keys[1:]]))

    with pytest.raises(InputError, match="differ from the keys that were read"):
        verify_parts(job, pinned, splits, [_rewritten(job, parts[0], swap)])


@pytest.mark.parametrize("text", ['{"numRecords":200,"minValues":{"probability":NaN},"maxValues":{},"nullCount":{}}'])
def test_statistics_that_would_ruin_the_table_are_refused(staged, text) -> None:
    job, pinned, splits, parts = staged
    with pytest.raises(TableContractError, match="NaN"):
        verify_parts(job, pinned, splits, [parts[0].model_copy(update={"statistics": text})])
