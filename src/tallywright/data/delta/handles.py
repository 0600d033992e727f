"""Cached handles of a lake's Delta tables: each is checked against the table contract, and its log is read once.

A cached handle is current when the log file of its version is still the same (a table may have been deleted and made
again under its name) and there is no next one: two requests to the storage.

The contract: a feature that only one of Spark, delta-rs and DuckDB understands would make one table show different rows
to different readers; expiring app transactions would make a re-run look like a first run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

from deltalake import DeltaTable

from tallywright.data.storage.filesystem import filesystem_of, is_disk
from tallywright.errors import TableContractError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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
_Stamp = tuple[object, ...]


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


_BY_THE: Final = "rows by the "


def description_of(cadence: str) -> str:
    """The description of a feature table: it says what its periods are, where its partitions do not."""
    return f"{_BY_THE}{cadence}" if cadence in ("week", "month") else ""


def require_cadence(table: DeltaTable, cadence: str) -> None:
    """Refuses a table whose periods are of another kind: of two kinds, rows would be in the table twice.

    Raises:
        TableContractError: Names both.
    """
    described = table.metadata().description or ""
    found = described.removeprefix(_BY_THE) if described.startswith(_BY_THE) else "day"
    if cadence not in ("hour", found):
        raise TableContractError(
            f"{table.table_uri} has rows by the {found}, and the model is scored by the {cadence}",
            expected="the schedule.cadence that the model began with",
            remedy="set schedule.cadence back, or give the new model another name",
        )


def require_partitioned_by(table: DeltaTable, *columns: str) -> None:
    """Refuses a table whose partition columns are others.

    Raises:
        TableContractError: The table is partitioned otherwise.
    """
    found = table.metadata().partition_columns
    if found != list(columns):
        raise TableContractError(
            f"{table.table_uri} is partitioned by {found or 'nothing'}",
            expected=f"partitioned by {', '.join(columns)}",
            remedy="move the table away and ingest again; a model keeps the kind of periods that it began with",
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


@dataclass(slots=True)
class _CachedHandle:
    """A handle, with the identity of its version's log file when it was opened or last committed on."""

    handle: DeltaTable
    version: int
    stamp: _Stamp | None


class Handles:
    """Handles on the newest version of tables, by address; safe for several threads.

    Only a commit on it moves a handle to another version. A writer takes the handle for itself, so that it commits on
    top of exactly the version that it decided on, also beside other threads.
    """

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = dict(options)
        self._known: dict[str, _CachedHandle] = {}
        self._held: dict[int, _CachedHandle] = {}
        self._pinned: dict[str, _CachedHandle] = {}
        self._lock = Lock()

    def newest(self, uri: str) -> DeltaTable:
        """A handle on the newest version, the same one as long as nobody else commits.

        Raises:
            Exception: Whatever delta-rs raises for a table that is missing or cannot be read.
            TableContractError: The table breaks the contract.
        """
        with self._lock:
            return self._newest(uri)

    def take(self, uri: str) -> DeltaTable:
        """As `newest`, exclusively: until it is given back, others get another handle."""
        with self._lock:
            handle = self._newest(uri)
            self._held[id(handle)] = self._known.pop(uri)
            return handle

    def give_back(self, uri: str, handle: DeltaTable) -> None:
        """Returns a handle of `take`, which is cached again unless a newer one is."""
        with self._lock:
            held = self._held.pop(id(handle), None)
            other = self._known.get(uri)
            if held is not None and (other is None or other.handle.version() < handle.version()):
                self._known[uri] = held

    def at(self, uri: str, version: int) -> DeltaTable:
        """A handle on a given version; the cached newest one, or the last one asked for, where it has that version."""
        with self._lock:
            found = self._current(uri)
            if found is not None and found.version() == version:
                return found
            stamp = self._stamp(uri, version)
            pinned = self._pinned.get(uri)
            if pinned is not None and stamp is not None and (pinned.version, pinned.stamp) == (version, stamp):
                return pinned.handle
            handle = self.opened(uri, version)
            self._pinned[uri] = _CachedHandle(handle, version, stamp)
            return handle

    def forget(self) -> None:
        """Drops the cached handles; those that are lent stay with their holders."""
        with self._lock:
            self._known.clear()
            self._pinned.clear()

    def is_known(self, uri: str) -> bool:
        """True when the table was opened before and is still there."""
        with self._lock:
            known = self._known.get(uri)
            return known is not None and self._is_same(uri, known)

    def opened(self, uri: str, version: int | None = None) -> DeltaTable:
        """A handle of the caller's own, on the newest or the given version."""
        handle = DeltaTable(uri, version=version, storage_options=self._options or None)
        check_table_contract(handle)
        return handle

    def _newest(self, uri: str) -> DeltaTable:
        found = self._current(uri)
        if found is not None:
            return found
        self._known.pop(uri, None)
        handle = self.opened(uri)
        version = handle.version()
        self._known[uri] = _CachedHandle(handle, version, self._stamp(uri, version))
        return handle

    def _current(self, uri: str) -> DeltaTable | None:
        """The cached handle, if it is on the newest version of the table that is there now."""
        known = self._known.get(uri)
        if known is None or not self._is_same(uri, known):
            return None
        version = known.handle.version()
        if version != known.version:  # its holder has committed
            check_table_contract(known.handle)
            known.version, known.stamp = version, self._stamp(uri, version)
            if known.stamp is None:
                return None
        return known.handle if self._stamp(uri, version + 1) is None else None

    def _is_same(self, uri: str, known: _CachedHandle) -> bool:
        return known.stamp is not None and self._stamp(uri, known.version) == known.stamp

    def _stamp(self, uri: str, version: int) -> _Stamp | None:
        """The identity of a log file, which tells it from another of its name; None when there is none."""
        path = f"{uri}/_delta_log/{version:020d}.json"
        if is_disk(uri):
            try:
                found = Path(path).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            return found.st_ino, found.st_mtime_ns, found.st_size
        # An object's own time has whole seconds, in which a table can be made twice: its content names its files.
        filesystem, inner = filesystem_of(path, self._options)
        try:
            with filesystem.open_input_stream(inner) as stream:
                content = stream.read()
        except FileNotFoundError:
            return None
        return hash(content), len(content)
