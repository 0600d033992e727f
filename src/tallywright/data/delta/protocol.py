"""The table contract: which Delta tables this project reads and writes, checked whenever one is opened.

A feature that only one of Spark, delta-rs and DuckDB understands would make one table show different rows to different
readers; expiring app transactions would make a re-run look like a first run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tallywright.errors import TableContractError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from deltalake import DeltaTable

TABLE_PROPERTIES: Final[dict[str, str]] = {
    "delta.checkpointInterval": "20",
    "delta.enableDeletionVectors": "false",
}
"""The properties that new tables are created with."""

LOG_RETENTION: Final = "delta.logRetentionDuration"
LONG_LOG: Final[dict[str, str]] = {LOG_RETENTION: "interval 36500 days"}
"""For tables whose old versions are read again: Delta's default cleans the log after 30 days, and with it goes every
way of opening them, whether their files are there or not."""

REMOVED_RETENTION: Final = "delta.deletedFileRetentionDuration"
"""For how long checkpoints remember removed files; maintenance sets it to the spec's retention."""

_READER_VERSIONS: Final = frozenset({1, 3})
_WRITER_VERSIONS: Final = frozenset({1, 2, 3, 7})
_READER_FEATURES: Final[frozenset[str]] = frozenset({"vacuumProtocolCheck"})
_WRITER_FEATURES: Final = frozenset({"appendOnly", "invariants", "checkConstraints", "vacuumProtocolCheck"})
_FORBIDDEN_VALUES: Final[Mapping[str, frozenset[str]]] = {
    "delta.enableDeletionVectors": frozenset({"true"}),
    "delta.enableRowTracking": frozenset({"true"}),
    "delta.enableChangeDataFeed": frozenset({"true"}),
    "delta.enableTypeWidening": frozenset({"true"}),
    "delta.enableInCommitTimestamps": frozenset({"true"}),
    "delta.appendOnly": frozenset({"true"}),
    "delta.columnMapping.mode": frozenset({"name", "id"}),
    "delta.checkpointPolicy": frozenset({"v2"}),
}
_FORBIDDEN_PROPERTIES: Final = frozenset({"delta.setTransactionRetentionDuration", "clusteringColumns"})


def check_table_contract(table: DeltaTable) -> None:
    """Refuses a table that breaks the contract.

    Raises:
        TableContractError: Names every feature and property that is in the way.
    """
    protocol = table.protocol()
    problems = [
        *_version_problems("reader", protocol.min_reader_version, _READER_VERSIONS),
        *_version_problems("writer", protocol.min_writer_version, _WRITER_VERSIONS),
        *_feature_problems("reader", protocol.reader_features, _READER_FEATURES),
        *_feature_problems("writer", protocol.writer_features, _WRITER_FEATURES),
        *_property_problems(table.metadata().configuration),
    ]
    if problems:
        raise TableContractError(
            f"{table.table_uri} breaks the table contract: {'; '.join(problems)}",
            expected="no deletion vectors, column mapping, clustering, row tracking, v2 checkpoints, change data feed, "
            "append-only mode or expiry of app transactions",
            remedy="drop the feature with the engine that added it, or copy the rows into a new table",
        )


def require_partitioned_by(table: DeltaTable, column: str) -> None:
    """Refuses a table whose only partition column is not `column`.

    Raises:
        TableContractError: The table is partitioned otherwise.
    """
    found = table.metadata().partition_columns
    if found != [column]:
        raise TableContractError(
            f"{table.table_uri} is partitioned by {found or 'nothing'}",
            expected=f"partitioned by {column}",
            remedy="move the table away and ingest again",
        )


def _version_problems(kind: str, version: int, allowed: frozenset[int]) -> Iterator[str]:
    if version not in allowed:
        yield f"{kind} version {version}"


def _feature_problems(kind: str, features: Sequence[str] | None, allowed: frozenset[str]) -> Iterator[str]:
    for feature in sorted(set(features or ()) - allowed):
        yield f"{kind} feature {feature}"


def _property_problems(configuration: Mapping[str, str | None]) -> Iterator[str]:
    for name, value in sorted(configuration.items()):
        forbidden = str(value).lower() in _FORBIDDEN_VALUES.get(name, frozenset())
        if forbidden or name in _FORBIDDEN_PROPERTIES:
            yield f"property {name}={value}"
