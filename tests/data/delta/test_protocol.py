from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from tallywright.data.delta.handles import TABLE_PROPERTIES, require_partitioned_by
from tallywright.data.delta.lake import Lake
from tallywright.errors import TableContractError

DAY = date(2024, 1, 1)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(str(tmp_path))
    data = pa.table({"score_date": pa.array([DAY], pa.date32()), "k": ["a"]})
    lake.replace("t", data, slice={"score_date": DAY}, partition_by=["score_date"])
    return lake


def alter(lake: Lake, *, protocol: dict[str, object] | None = None, properties: dict[str, str] | None = None) -> None:
    """Changes the table's first log entry, as an engine with other features would have written it."""
    log = Path(lake.uri("t"), "_delta_log", f"{0:020}.json")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if "protocol" in line and protocol:
            line["protocol"] = protocol
        if "metaData" in line:
            line["metaData"]["configuration"].update(properties or {})
    log.write_text("\n".join(json.dumps(line) for line in lines))


def test_own_tables_pass(lake):
    table = lake.open("t")
    assert table.metadata().configuration == TABLE_PROPERTIES
    assert table.protocol().min_writer_version == 2


@pytest.mark.parametrize(
    "protocol",
    [
        {"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": [feature]}
        for feature in ("rowTracking", "domainMetadata", "clustering", "identityColumns", "somethingNew")
    ]
    + [
        {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": [feature], "writerFeatures": [feature]}
        for feature in (
            "deletionVectors",
            "columnMapping",
            "v2Checkpoint",
            "timestampNtz",
            "typeWidening",
            "somethingNew",
        )
    ]
    + [{"minReaderVersion": 2, "minWriterVersion": 5}, {"minReaderVersion": 9, "minWriterVersion": 9}],
)
def test_refuses_features(lake, protocol):
    alter(lake, protocol=protocol)
    for call in (lambda: lake.open("t"), lambda: lake.read("t"), lambda: lake.files("t")):
        with pytest.raises(TableContractError) as caught:
            call()
        feature = (protocol.get("writerFeatures") or ["version"])[0]
        assert feature.lower() in str(caught.value).lower().replace(" ", "")
        assert caught.value.remedy


@pytest.mark.parametrize(
    "properties",
    [
        {"delta.setTransactionRetentionDuration": "interval 7 days"},
        {"delta.enableDeletionVectors": "true"},
        {"delta.enableRowTracking": "true"},
        {"delta.columnMapping.mode": "name"},
        {"delta.checkpointPolicy": "v2"},
        {"delta.appendOnly": "true"},
    ],
)
def test_refuses_properties(lake, properties):
    alter(lake, properties=properties)
    with pytest.raises(TableContractError, match=next(iter(properties))):
        lake.open("t")


def test_features_without_effect_on_readers_pass(lake):
    alter(lake, protocol={"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["appendOnly", "invariants"]})
    assert lake.read("t").num_rows == 1


def test_wrong_partitioning(lake):
    require_partitioned_by(lake.open("t"), "score_date")
    with pytest.raises(TableContractError, match="partitioned by"):
        require_partitioned_by(lake.open("t"), "k")
    lake.replace("flat", pa.table({"n": [1]}), slice={"n": 1})
    with pytest.raises(TableContractError, match="not partitioned by the period of 2024-01-01"):
        lake.files("flat", day=DAY)
