"""A range of days as raw files, one file a day and source; each appears whole or not at all."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Final, Literal

import pyarrow.csv
import pyarrow.parquet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

    from loans.world import World

Format = Literal["parquet", "csv"]
_SOURCES: Final = ("applications", "repayments")


def write_days(world: World, first: date, last: date, folder: Path, file_format: Format = "parquet") -> Iterator[Path]:
    """Writes what lies in the folder on the evening of the last day, from the first day on, and names each file.

    A file that is late is there once its day of delivery has come, and one that never comes is taken away if an earlier
    call wrote it. The same world writes the same bytes again.
    """
    for source in _SOURCES:
        (folder / source).mkdir(parents=True, exist_ok=True)
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        file = _file_of(folder, "applications", day, file_format)
        there = world.delivered(day)
        if there is not None and there <= last:
            yield _write(world.applications(day), file)
        else:
            file.unlink(missing_ok=True)
        yield _write(world.repayments(day), _file_of(folder, "repayments", day, file_format))


def _file_of(folder: Path, source: str, day: date, file_format: Format) -> Path:
    return folder / source / f"{source}-{day}.{file_format}"


def _write(table: pa.Table, file: Path) -> Path:
    part = file.with_name(f".{file.name}.part")
    if file.suffix == ".csv":
        pyarrow.csv.write_csv(table, part, pyarrow.csv.WriteOptions(quoting_style="needed"))
    else:
        pyarrow.parquet.write_table(table, part)
    return part.replace(file)
