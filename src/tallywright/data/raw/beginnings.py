"""The beginning of a raw file as a plain copy, for whoever looks at a sample: bounded, whatever the file is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tallywright.data.raw.archives import plain
from tallywright.data.raw.staging import CsvCopy

if TYPE_CHECKING:
    from pathlib import Path

    from tallywright.spec.sources import Source

_LONGEST: Final = 33 << 20
"""How far the first line end is looked for: the reader itself refuses longer lines."""
_BLOCK: Final = 1 << 16


def beginning(where: str, source: Source, file: Path, name: str, target: Path, share: int) -> CsvCopy:
    """A copy of the first bytes of a file, unpacked; of one that grows meanwhile the end is not its end.

    Args:
        where: `data.sources.orders`, for messages.
        source: What the spec says.
        file: What is read.
        name: What it is called.
        target: The copy.
        share: About how many bytes it gets: more where no line ends so soon.

    Raises:
        InputError: The file cannot be unpacked.
    """
    before = file.stat()
    advice = f"where that is meant: {where}.max_unpacked_mb"
    with (
        plain(file, name, suffix=file.suffix.lower(), max_mb=source.max_unpacked_mb, advice=advice) as stream,
        target.open("wb") as copy,
    ):
        size, has_line = 0, False
        while block := stream.read(min(_BLOCK, share)):
            if size >= (share if has_line else _LONGEST):
                break
            copy.write(block)
            size += len(block)
            has_line = has_line or b"\n" in block or b"\r" in block
    after = file.stat()
    changed = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
    return CsvCopy(target, name, target, cut=bool(block) or changed)
