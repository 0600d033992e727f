"""Raw files as plain bytes: the one CSV in a zip, gzip and zstd, each up to a limit of what may come out of it."""

from __future__ import annotations

import gzip
import lzma
import struct
import zipfile
import zlib
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Final, cast

import pyarrow as pa

from tallywright.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKED: Final = (".zip", ".gz", ".zst")
_LEAST_LIMIT: Final = 256 << 20
_RATIO: Final = 100
_UNREADABLE: Final = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, NotImplementedError,
    ValueError, struct.error, LookupError, OverflowError,
)  # fmt: skip
"""What zipfile, gzip, zlib, lzma and Arrow raise about damaged bytes (pa.ArrowInvalid is a ValueError)."""


class Plain:
    """The bytes that come out of a file, counted against the limit."""

    def __init__(self, name: str, stream: IO[bytes], limit: int | None, advice: str) -> None:
        self._name, self._stream, self._limit, self._advice = name, stream, limit, advice
        self._bytes = 0

    def read(self, size: int) -> bytes:
        """The next bytes; none at the end.

        Raises:
            InputError: The file is damaged, or more comes out of it than may.
        """
        with unreadable(self._name):
            block = bytes(self._stream.read(size))
        self._bytes += len(block)
        self.require_size(self._bytes)
        return block

    def require_size(self, size: int) -> None:
        """Refuses more bytes than may come out of the file.

        Raises:
            InputError: It is more.
        """
        if self._limit is not None and size > self._limit:
            raise InputError(
                f"{self._name} unpacks to more than {self._limit >> 20:,} MB",
                expected=f"at most the larger of {_LEAST_LIMIT >> 20} MB and {_RATIO} times the packed size",
                remedy=self._advice,
            )


@contextmanager
def unreadable(name: str) -> Iterator[None]:
    """Raises InputError where the bytes of a packed file are damaged; failures of the disk stay what they are."""
    try:
        yield
    except EOFError as error:
        raise _damaged(name, "ends too early", "deliver it again") from error
    except RuntimeError as error:  # zipfile's only word for a password
        if "encrypted" in str(error) or "password" in str(error).lower():
            raise _damaged(name, "is encrypted", "deliver it without a password") from error
        raise _damaged(name, f"cannot be unpacked: {error}", "pack it again, with deflate") from error
    except _UNREADABLE as error:
        raise _damaged(name, f"is damaged: {error}", "deliver it again") from error
    except OSError as error:
        if error.errno is not None:
            raise
        too_short = "truncated" in str(error).lower() or "end of stream" in str(error).lower()
        what = "ends too early" if too_short else f"is damaged: {error}"
        raise _damaged(name, what, "deliver it again") from error


def _damaged(name: str, what: str, remedy: str) -> InputError:
    return InputError(f"{name} {what}", expected="a file that can be read to its end", remedy=remedy)


@contextmanager
def plain(file: Path, name: str, *, suffix: str, max_mb: int | None, advice: str) -> Iterator[Plain]:
    """The bytes of a file, unpacked where its suffix says that it is packed.

    Args:
        file: What is read.
        name: What the file is called in messages.
        suffix: Of its name: `.zip`, `.gz` and `.zst` are unpacked.
        max_mb: How much may come out of it; None: the larger of 256 MB and 100 times its size.
        advice: The line to write where more is meant to.

    Raises:
        InputError: It is damaged, encrypted, or holds another number of CSV files than one.
    """
    size = file.stat().st_size
    limit = max(_LEAST_LIMIT, _RATIO * size) if max_mb is None else max_mb << 20
    with ExitStack() as opened:
        with unreadable(name):
            stream, said = _opened(opened, file, name, suffix)
        found = Plain(name, stream, limit if suffix in PACKED else None, advice)
        found.require_size(said)
        yield found


def _opened(opened: ExitStack, file: Path, name: str, suffix: str) -> tuple[IO[bytes], int]:
    """The unpacked bytes, and how many there are as the file itself says; 0 where it does not."""
    if suffix == ".zip":
        archive = opened.enter_context(zipfile.ZipFile(file))
        member = _only_csv(archive, name)
        return opened.enter_context(archive.open(member)), member.file_size
    if suffix == ".gz":
        unpacked = opened.enter_context(gzip.open(file, "rb"))  # noqa: SIM115 - it is one
        return cast("IO[bytes]", unpacked), 0
    if suffix == ".zst":
        raw = opened.enter_context(pa.OSFile(str(file), "rb"))
        return opened.enter_context(pa.CompressedInputStream(raw, "zstd")), 0
    return opened.enter_context(file.open("rb")), 0


def _only_csv(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """The one CSV file in an archive; what systems add to it beside the files is no file of it."""
    members = [member for member in archive.infolist() if not member.is_dir()]
    found = [member for member in members if _is_csv(PurePosixPath(member.filename))]
    if not found and any(member.filename == "[Content_Types].xml" for member in members):
        raise InputError(f"{name} is a workbook", expected="a CSV file", remedy="save the sheet as CSV")
    if len(found) != 1:
        held = ", ".join(member.filename for member in (found or members)[:5])
        raise InputError(
            f"{name} holds {held or 'nothing'}",
            expected="exactly one .csv",
            remedy="pack each file by itself",
        )
    if found[0].flag_bits & 1:
        raise InputError(
            f"{name}: {found[0].filename} is encrypted",
            expected="a file that can be read to its end",
            remedy="deliver it without a password",
        )
    return found[0]


def _is_csv(member: PurePosixPath) -> bool:
    added = member.name.startswith(".") or "__MACOSX" in member.parts
    return member.suffix.lower() == ".csv" and not added
