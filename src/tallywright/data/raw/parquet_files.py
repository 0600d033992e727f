"""Parquet files as a source: their columns and rows, by their footers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow as pa

from tallywright.data.raw.headers import Header, header_of
from tallywright.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tallywright.data.raw.files import Located
    from tallywright.spec.sources import Source


def look(where: str, file: Path, name: str) -> tuple[Header, int, pa.Schema]:
    """The columns of a file, how many rows it has, and the types of its columns.

    Args:
        where: `data.sources.orders`, for messages.
        file: What is read.
        name: What it is called.

    Raises:
        InputError: It is no whole Parquet file.
    """
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(file) as opened:
            schema = opened.schema_arrow
            return header_of(name, 1, schema.names), int(opened.metadata.num_rows), schema
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError) as error:
        raise _damaged(where, name, error) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise _damaged(where, name, error) from error


def require_one_type(where: str, schemas: Mapping[str, pa.Schema], columns: Sequence[str]) -> None:
    """Refuses files that have a column in types of which none holds the values of the others, as keys would change.

    Args:
        where: `data.sources.orders`, for messages.
        schemas: Of each file, by what it is called.
        columns: Those that are read.

    Raises:
        InputError: Names the column, two files and their types.
    """
    seen: dict[str, tuple[pa.DataType, str]] = {}
    for file, schema in schemas.items():
        for name in columns:
            if name not in schema.names:
                continue
            kind = schema.field(name).type
            before, first = seen.setdefault(name, (kind, file))
            if _family(before) != _family(kind):
                raise InputError(
                    f"{where}: {name} is {kind} in {file}, and {before} in {first}",
                    expected="one type of a column in all files of a source",
                    remedy="deliver the files alike, or as two sources",
                )


def _family(kind: pa.DataType) -> str:
    """What types have in common that may stand in for one another: the wider holds each value of the narrower."""
    if pa.types.is_dictionary(kind):
        return _family(kind.value_type)
    if pa.types.is_signed_integer(kind):
        return "whole numbers"
    families = {
        "texts": (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
        "bytes": (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view),
        "fractions": (pa.types.is_floating,),
        "nothing": (pa.types.is_null,),
    }
    found = next((name for name, tests in families.items() if any(test(kind) for test in tests)), "")
    if pa.types.is_timestamp(kind):
        return f"instants {'of a zone' if kind.tz else ''}"
    return found or str(kind)


def nanosecond_columns(files: Sequence[Path]) -> dict[str, bool]:
    """The columns of instants in nanoseconds as 64-bit numbers, and whether they are of a zone."""
    from pyarrow.parquet import ParquetFile

    found: dict[str, bool] = {}
    for file in files:
        with ParquetFile(file) as opened:
            columns = [opened.schema.column(place) for place in range(len(opened.schema))]
        kinds = {column.path: json.loads(column.logical_type.to_json()) for column in columns}
        found |= {
            name: kind["isAdjustedToUTC"] for name, kind in kinds.items() if kind.get("timeUnit") == "nanoseconds"
            and kind["Type"] == "Timestamp"
        }  # fmt: skip
    return found


def _damaged(where: str, name: str, error: Exception) -> InputError:
    return InputError(
        f"{where}: {name} is no whole Parquet file: {' '.join(str(error).split())[:200]}",
        expected="Parquet, from its first bytes to its last",
        remedy="replace the damaged file",
    )


def keys_by_file(
    where: str, source: Source, located: Located, files: Sequence[Path], columns: Sequence[str]
) -> tuple[dict[str, str | None], ...]:
    """The values of the columns that folders give, by file; those that the files have themselves go before.

    Raises:
        InputError: A file that lies in no folder of a key that the spec names.
    """
    found = [located.keys_of(file) for file in files]
    if not source.strict and not source.partition_columns:
        shared = [key for key in found[0] if all(key in keys for keys in found)]
        return _only(found, [key for key in shared if key not in columns])
    for keys, file in zip(found, files, strict=True):
        for key in source.partition_columns:
            if key not in keys:
                raise InputError(
                    f"{where}: {located.name_of(file)} lies in no folder {key}=…",
                    expected=f"folders named by partition_columns: {', '.join(source.partition_columns)}",
                    remedy="correct partition_columns or the path of the source",
                )
    twice = [key for key in source.partition_columns if key in columns]
    if twice:
        raise InputError(
            f"{where}: {located.name_of(files[0])} has a column {twice[0]}, and lies in a folder {twice[0]}=…",
            expected="a column that either the files or their folders have",
            remedy="take it out of partition_columns: then that of the files is read",
        )
    return _only(found, source.partition_columns)


def _only(found: Sequence[dict[str, str | None]], wanted: Sequence[str]) -> tuple[dict[str, str | None], ...]:
    return tuple({key: keys[key] for key in wanted} for keys in found) if wanted else ()
