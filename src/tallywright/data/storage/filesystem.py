"""Arrow filesystems for local paths and object stores, storage errors as TallyErrors, and a cache of small files.

The options are those of delta-rs, so that one set of them reaches tables and files alike. Nothing here makes a bucket.
Contents of small data files are cached in memory: a data file of a Delta table never changes and its name is never
used again, so the cache is never stale, and a range of days reads the same files over and over.
"""

from __future__ import annotations

import errno
import re
from collections import OrderedDict
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pyarrow as pa
from deltalake.exceptions import DeltaError, DeltaProtocolError, SchemaMismatchError, TableNotFoundError
from pyarrow import fs

from tallywright.data.storage.options import (
    ACCESS_KEY,
    ALLOW_HTTP,
    ENDPOINT,
    REGION,
    SECRET_KEY,
    SESSION_TOKEN,
    VIRTUAL_HOST,
    is_s3,
    is_true,
    option,
)
from tallywright.data.storage.store_errors import cause_of, store_remedy
from tallywright.errors import SpecError, StorageError, TableContractError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping

_FULL = re.compile(r"no space left|quota exceeded|file too large|os error (28|27|122)\b", re.IGNORECASE)
_DENIED = re.compile(r"read-only|permission denied|os error (13|30|1)\b", re.IGNORECASE)
_FULL_CODES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED_CODES = frozenset({errno.EACCES, errno.EROFS, errno.EPERM})
_UNSUPPORTED = re.compile(r"not supported|unsupported", re.IGNORECASE)
_UNKNOWN_TYPE = re.compile(
    r"unsupported delta table type: '(?!variant|char|varchar|timestamp_ntz|geo|interval)", re.IGNORECASE
)
"""What delta-rs says of a damaged schema; the types left out are those of other engines, which it does not know."""
SMALL: Final = 1 << 17
"""Bytes on storage up to which a file is cached."""
_CACHE_BYTES: Final = 1 << 26
"""Bytes of Arrow buffers that the cache holds; the least recently used go first."""
_CONNECT_SECONDS: Final = 5.0
_STALL_SECONDS: Final = 7.0
_ATTEMPTS: Final = 3
_DEFAULT_REGION: Final = "us-east-1"
"""What delta-rs takes when no region is given; self-hosted stores ignore it."""


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Raises StorageError (or TableContractError) for failures of files and tables inside the block.

    Conflicts between writers are not failures of storage: catch `CommitFailedError` inside the block.

    Args:
        what: What was being done to what, as the first words of the message: "writing /lake/m__features".
    """
    try:
        yield
    except TableNotFoundError as error:
        raise missing_table(what) from error
    except (DeltaProtocolError, SchemaMismatchError) as error:
        raise TableContractError(f"{what}: {cause_of(error)}") from error
    except DeltaError as error:
        raise _delta_error(what, error) from error
    except (OSError, pa.ArrowException) as error:
        raise as_storage_error(what, error) from error


def missing_table(what: str) -> StorageError:
    """The error for a table that is not there."""
    return StorageError(
        f"{what}: no such table",
        expected="a Delta table in the lake",
        remedy="ingest the day first, or check environment.storage.lake",
    )


def as_storage_error(what: str, error: Exception) -> StorageError:
    """The StorageError for a failure of the operating system, of Arrow or of an object store."""
    return StorageError(
        f"{what}: {cause_of(error)}", expected="storage that can be read and written", remedy=_remedy(error)
    )


def _remedy(error: Exception) -> str:
    text, code = str(error), getattr(error, "errno", None)
    if code in _FULL_CODES or _FULL.search(text):
        return "free space on that storage and run the same command again: nothing half-written is visible"
    if code in _DENIED_CODES or _DENIED.search(text):
        return "make that place writable (or readable) for this user, or point environment.storage elsewhere"
    return store_remedy(error) or "check the storage, then run the same command again"


def _delta_error(what: str, error: DeltaError) -> StorageError | TableContractError:
    unsupported = _UNSUPPORTED.search(str(error)) and not _UNKNOWN_TYPE.search(str(error))
    if unsupported and not store_remedy(error):
        return TableContractError(
            f"{what}: {cause_of(error)}",
            expected="a table without deletion vectors, column mapping, clustering, row tracking or v2 checkpoints",
            remedy="rewrite the table without that feature",
        )
    return as_storage_error(what, error)


class SmallFileCache:
    """A bounded LRU cache of the tables read from small files; safe for several threads."""

    def __init__(self, limit: int = _CACHE_BYTES) -> None:
        self._limit = limit
        self._tables: OrderedDict[Hashable, pa.Table] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def get(self, key: Hashable) -> pa.Table | None:
        """The cached table; None when there is none."""
        with self._lock:
            found = self._tables.get(key)
            if found is not None:
                self._tables.move_to_end(key)
            return found

    def put(self, key: Hashable, table: pa.Table) -> pa.Table:
        """Caches a copy of a table, which it returns, and evicts the least recently used ones."""
        packed = _packed(table)
        with self._lock:
            if key not in self._tables:
                self._tables[key] = packed
                self._bytes += packed.nbytes
            while self._bytes > self._limit:
                self._bytes -= self._tables.popitem(last=False)[1].nbytes
        return packed

    def clear(self) -> None:
        """Drops all tables."""
        with self._lock:
            self._tables.clear()
            self._bytes = 0


def _packed(table: pa.Table) -> pa.Table:
    """The same rows in one buffer of just their size: what Parquet's reader makes holds up to three times of it."""
    sizes = pa.MockOutputStream()
    with pa.ipc.new_stream(sizes, table.schema) as stream:
        stream.write_table(table)
    buffer = pa.allocate_buffer(sizes.size())
    with pa.ipc.new_stream(pa.FixedSizeBufferWriter(buffer), table.schema) as stream:
        stream.write_table(table)
    return pa.ipc.open_stream(buffer).read_all()


def is_disk(path: str) -> bool:
    """True for a path of a filesystem, False for the `scheme://` address of a store."""
    return "://" not in path


def filesystem_of(path: str, options: Mapping[str, str]) -> tuple[fs.FileSystem, str]:
    """The filesystem of an absolute path or `scheme://` address, and the path inside it.

    Args:
        path: Local path or address.
        options: delta-rs' options; credentials that are missing come from the environment, as AWS' tools find them.

    Raises:
        SpecError: Options that do not fit together.
    """
    if is_disk(path):
        return fs.LocalFileSystem(), path
    if not is_s3(path):
        filesystem, inner = fs.FileSystem.from_uri(path)
        return filesystem, inner
    return _s3(**_arguments(options)), path.partition("://")[2]


@lru_cache(maxsize=8)
def _s3(**arguments: Any) -> fs.S3FileSystem:
    """The S3 client for these options, one for all files, as it keeps its connections."""
    return fs.S3FileSystem(
        connect_timeout=_CONNECT_SECONDS,
        request_timeout=_STALL_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        **arguments,
    )


def _arguments(options: Mapping[str, str]) -> dict[str, Any]:
    arguments: dict[str, Any] = {"region": option(options, REGION) or _DEFAULT_REGION}
    key, secret = option(options, ACCESS_KEY), option(options, SECRET_KEY)
    if bool(key) != bool(secret):
        raise SpecError(
            f"the object store's credentials lack {SECRET_KEY[0].upper() if key else ACCESS_KEY[0].upper()}",
            expected="both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or neither",
            remedy="set it in storage.options of the overlay, or in the environment",
        )
    if key:
        arguments |= {"access_key": key, "secret_key": secret, "session_token": option(options, SESSION_TOKEN)}
    return arguments | _endpoint(options)


def _endpoint(options: Mapping[str, str]) -> dict[str, Any]:
    endpoint = option(options, ENDPOINT)
    if not endpoint:
        return {}
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
        raise SpecError(
            "AWS_ENDPOINT_URL is not the address of a store",
            expected="https://host or http://host:port, without a path",
        )
    if parts.scheme == "http" and not is_true(option(options, ALLOW_HTTP)):
        raise SpecError(
            f"AWS_ENDPOINT_URL {endpoint} has no TLS",
            expected="https://…, or AWS_ALLOW_HTTP=true next to it",
            remedy="set AWS_ALLOW_HTTP in storage.options if the store really has no TLS",
        )
    virtual = is_true(option(options, VIRTUAL_HOST))
    return {"endpoint_override": parts.netloc, "scheme": parts.scheme, "force_virtual_addressing": virtual}
