"""Turns what storage and delta-rs raise into this project's errors, so that nobody above has to know them."""

from __future__ import annotations

import errno
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
from deltalake.exceptions import DeltaError, DeltaProtocolError, SchemaMismatchError, TableNotFoundError

from tallywright.data.storage.store_errors import cause_of, store_remedy
from tallywright.errors import StorageError, TableContractError

if TYPE_CHECKING:
    from collections.abc import Iterator

_FULL = re.compile(r"no space left|quota exceeded|file too large|os error (28|27|122)\b", re.IGNORECASE)
_DENIED = re.compile(r"read-only|permission denied|os error (13|30|1)\b", re.IGNORECASE)
_FULL_CODES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED_CODES = frozenset({errno.EACCES, errno.EROFS, errno.EPERM})
_UNSUPPORTED = re.compile(r"unsupported (reader|writer|table) feature|not supported|unsupported", re.IGNORECASE)


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
    if _UNSUPPORTED.search(str(error)) and not store_remedy(error):
        return TableContractError(
            f"{what}: {cause_of(error)}",
            expected="a table without deletion vectors, column mapping, clustering, row tracking or v2 checkpoints",
            remedy="rewrite the table without that feature",
        )
    return as_storage_error(what, error)
