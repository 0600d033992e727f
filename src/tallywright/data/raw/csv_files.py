"""One CSV file, block by block: its header, its rows as columns of text, and the lines that fit neither.

The blocks are split into records here (`records`), so that each row has its line and each line an end; Arrow's reader
only turns records of the right width into columns, and has to find as many of them.
"""

from __future__ import annotations

import codecs
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import pyarrow as pa

from tallywright.data.raw.headers import OTHER_DELIMITERS, Header, header_of, other_delimiter
from tallywright.data.raw.records import Dialect, MalformedError, Records, field_texts, scan
from tallywright.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from tallywright.spec.sources import Source

_BLOCK: Final = 1 << 24
_LONGEST_RECORD: Final = 1 << 25
_BOM: Final = "\ufeff"
_WORKBOOK: Final = 4096
"""Bytes within which a file of Office says what it is."""
_MAGIC: Final = {b"\x1f\x8b": ".gz", b"PK\x03\x04": ".zip", b"\x28\xb5\x2f\xfd": ".zst"}
_SHOWN: Final = 200


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int) -> bytes:
        """The next bytes; none at the end."""


@dataclass(frozen=True, slots=True)
class CsvRows:
    """CsvRows of one block.

    Attributes:
        table: Their columns as texts, null where the spec says so.
        lines: The line of the file on which each begins.
        unreadable: Lines of another width than the header's: line, reason, the fields as JSON.
    """

    table: pa.Table
    lines: NDArray[np.int64]
    unreadable: list[tuple[int, str, str]]

    @property
    def count(self) -> int:
        """How many rows of the file these are."""
        return int(self.table.num_rows) + len(self.unreadable)


class CsvFile:
    """A CSV file that is read once, from its beginning.

    Args:
        name: What it is called in messages.
        stream: Its plain bytes.
        source: What the spec says of the files of this source.
        cut: The stream ends before the file does: what may be a part of a row at its end is left out.
    """

    def __init__(self, name: str, stream: Readable, source: Source, *, cut: bool = False) -> None:
        self.name = name
        self._source = source
        self._cut = cut
        self._dialect = Dialect(source.delimiter.encode(), source.quote.encode())
        self._text = _Utf8(name, stream, source.encoding, cut=cut)
        self._pending, self._line, self._is_last = b"", 1, False
        self.header = self._read_header()

    @property
    def is_empty(self) -> bool:
        """True when it holds no line at all."""
        return self.header is None

    def rows(self, wanted: Sequence[str]) -> Iterator[CsvRows]:
        """Its rows with these columns of the header, in order.

        Raises:
            InputError: The file cannot be read to its end, or a line has another width (unless the spec has such lines
                quarantined).
        """
        if self.header is None:
            return
        while True:
            data, records = self._records()
            if records.ends.size:
                yield self._rows(data, records, wanted)
            if self._is_last:
                return

    def _read_header(self) -> Header | None:
        if not self._source.header:
            first = self._peek()
            return None if first is None else header_of(self.name, first, self._source.columns)
        while True:
            data, records = self._records()
            written = np.flatnonzero(~records.blank)
            if written.size:
                place = int(written[0])
                end = int(records.ends[place])
                self._pending, self._is_last = data[end:] + self._pending, False
                line = int(records.lines[place])
                following = records.lines[place + 1 : place + 2]
                self._line = int(following[0]) if following.size else records.next_line
                texts = field_texts(data[int(records.starts[place]) : end], self._dialect)
                names = [text.decode() for text in texts]
                return header_of(self.name, line, names)
            if self._is_last:
                return None

    def _peek(self) -> int | None:
        """The line of the first row of a file without a header; None where it holds none."""
        data, records = self._records()
        self._pending, self._line, self._is_last = data + self._pending, 1, False
        return int(records.lines[0]) if records.ends.size else None

    def _records(self) -> tuple[bytes, Records]:
        """The next block's text in whole records; the rest waits for the next block."""
        while True:
            block = self._text.read(_BLOCK)
            ended = not block
            data = self._pending + block if self._pending else block
            self._require_text(data)
            try:
                records = scan(data, self._dialect, self._line, final=ended and not self._cut)
            except MalformedError as error:
                raise self._malformed(data, error) from error
            if records.consumed or ended:
                break
            if len(data) > _LONGEST_RECORD:
                raise self._refusal(self._line, f"no line end within {_LONGEST_RECORD >> 20} MB",
                                    "rows of at most that length", "deliver it again")  # fmt: skip
            self._pending = data
        end = records.consumed
        self._require_unicode(data[:end])
        self._pending, self._line, self._is_last = data[end:], records.next_line, ended
        return data[:end], records

    def _malformed(self, data: bytes, error: MalformedError) -> InputError:
        """The refusal of text without records; where it is the header's, another delimiter may be the cause."""
        sign = error.behind.decode(errors="replace")
        if error.line == self._line and self._line == 1 and sign in OTHER_DELIMITERS:
            names = field_texts(data[: data.find(b"\n") + 1 or len(data)], Dialect(error.behind, self._dialect.quote))
            texts = [name.decode(errors="replace") for name in names]
            return other_delimiter(self.name, 1, texts, sign, self._source)
        return self._refusal(
            error.line,
            error.problem,
            "a quote at both ends of a text, and two for one within it",
            "deliver it again, or say which `quote` it has in data.sources",
        )

    def _rows(self, data: bytes, records: Records, wanted: Sequence[str]) -> CsvRows:
        assert self.header is not None  # noqa: S101 - asked before
        width = len(self.header.columns)
        blank = records.blank if width > 1 else np.zeros(records.blank.size, bool)
        fitting = (records.fields == width) & ~blank
        unfit = np.flatnonzero((records.fields != width) & ~blank)
        if unfit.size and self._source.bad_lines == "refuse":
            raise self._unfit(data, records, int(unfit[0]))
        unreadable = [self._unreadable(data, records, int(place)) for place in unfit]
        text = data if fitting.all() else _only(data, records, fitting)
        longest = int((records.ends - records.starts).max())
        table = self._columns(text, wanted, longest)
        if table.num_rows != int(fitting.sum()):
            first, last = int(records.lines[0]), int(records.lines[-1])
            raise self._refusal(
                first,
                f"{table.num_rows} rows were read of the {int(fitting.sum())} on the lines to {last}",
                "rows that are read alike by all",
                "quote texts that hold quotes or line ends",
            )
        return CsvRows(table, records.lines[fitting], unreadable)

    def _columns(self, text: bytes, wanted: Sequence[str], longest: int) -> pa.Table:
        """The fields of records of the header's width, as columns of text."""
        import pyarrow.csv as arrow_csv

        assert self.header is not None  # noqa: S101 - asked before
        columns = self.header.columns
        schema = pa.schema([(name, pa.string()) for name in wanted])
        if not text:
            return pa.Table.from_batches([], schema)
        if not text.endswith((b"\n", b"\r")):
            text += b"\n"  # Arrow takes an empty last field behind a quoted one for a quoted one
        source = self._source
        quote: str | bool = source.quote or False
        return arrow_csv.read_csv(
            pa.py_buffer(text),
            arrow_csv.ReadOptions(column_names=list(columns), block_size=max(1 << 22, 2 * longest)),
            arrow_csv.ParseOptions(
                delimiter=source.delimiter,
                quote_char=quote,
                newlines_in_values=bool(source.quote) and source.quote.encode() in text,
                ignore_empty_lines=False,
            ),
            arrow_csv.ConvertOptions(
                include_columns=list(wanted),
                column_types=schema,
                strings_can_be_null=True,
                quoted_strings_can_be_null=not source.strict,
                null_values=list(source.null_texts),
            ),
        )

    def _unfit(self, data: bytes, records: Records, place: int) -> InputError:
        assert self.header is not None  # noqa: S101 - asked before
        line, fields, width = int(records.lines[place]), int(records.fields[place]), len(self.header.columns)
        found = f"{fields} field{'s' * (fields != 1)}, the header has {width}"
        cut = self._is_last and place == records.ends.size - 1 and fields < width and data[-1:] not in (b"\n", b"\r")
        return self._refusal(
            line,
            f"the file ends within a row: {found}" if cut else found,
            f"{width} fields on each line",
            "deliver it again; to quarantine such lines: `bad_lines: quarantine` in data.sources",
        )

    def _unreadable(self, data: bytes, records: Records, place: int) -> tuple[int, str, str]:
        assert self.header is not None  # noqa: S101 - asked before
        record = data[int(records.starts[place]) : int(records.ends[place])]
        texts = [text.decode() for text in field_texts(record, self._dialect)]
        fields = int(records.fields[place])
        reason = f"{fields} field{'s' * (fields != 1)}, the header has {len(self.header.columns)}"
        return int(records.lines[place]), reason, json.dumps({"fields": texts}, ensure_ascii=False)

    def _require_text(self, data: bytes) -> None:
        """Refuses bytes that no text has."""
        if self._line == 1 and (packed := next((end for start, end in _MAGIC.items() if data.startswith(start)), "")):
            if b"[Content_Types].xml" in data[:_WORKBOOK]:
                raise self._refusal(1, "is a workbook", "a CSV file", "save the sheet as CSV")
            raise self._refusal(1, "is no text: it is packed", f"a name that ends in {packed}", "rename the file")
        place = data.find(b"\0")
        if place >= 0:
            line = self._line + data.count(b"\n", 0, place)
            remedy = "deliver it again, or give its `encoding`, such as utf-16, in data.sources"
            raise self._refusal(line, "a byte 0", f"text in {self._source.encoding}", remedy)

    def _require_unicode(self, data: bytes) -> None:
        if data.isascii():
            return
        try:
            data.decode()
        except UnicodeDecodeError as error:
            raise not_in_encoding(self.name, self._line, data, error, "utf-8") from error

    def _refusal(self, line: int, problem: str, expected: str, remedy: str) -> InputError:
        return InputError(f"{self.name} line {line}: {problem}", expected=expected, remedy=remedy)


def not_in_encoding(name: str, line: int, data: bytes, error: UnicodeDecodeError, encoding: str) -> InputError:
    """The refusal of a byte that is no text in the encoding of the spec."""
    line += data.count(b"\n", 0, error.start)
    byte = data[error.start] if error.start < len(data) else 0
    return InputError(
        f"{name} line {line}: byte 0x{byte:02X} is no text in {encoding}",
        expected=f"text in {encoding}",
        remedy="deliver it so, or give its `encoding`, such as latin-1, in data.sources",
    )


class _Utf8:
    """A file's text as UTF-8, without a byte order mark."""

    def __init__(self, name: str, stream: Readable, encoding: str, *, cut: bool) -> None:
        self._name, self._stream, self._encoding, self._cut = name, stream, encoding, cut
        self._decoder: codecs.IncrementalDecoder | None = None
        if codecs.lookup(encoding).name not in ("utf-8", "utf-8-sig", "ascii"):
            self._decoder = codecs.getincrementaldecoder(encoding)()
        self._begun, self._line, self._ended = False, 1, False

    def read(self, size: int) -> bytes:
        """The next text; none at the end."""
        while True:
            raw = self._stream.read(size)
            text = self._decoded(raw)
            if not self._begun and text:
                self._begun = True
                text = text.removeprefix(_BOM.encode())
            if text or not raw:
                return text

    def _decoded(self, raw: bytes) -> bytes:
        if self._decoder is None:
            return raw
        if self._ended:
            return b""
        self._ended = not raw
        try:
            text = self._decoder.decode(raw, final=not raw and not self._cut).encode()
        except UnicodeDecodeError as error:
            raise not_in_encoding(self._name, self._line, error.object, error, self._encoding) from error
        except UnicodeError as error:  # of codecs that have their own, such as a UTF-16 without its mark
            raise InputError(
                f"{self._name} is no text in {self._encoding}: {error}",
                expected=f"text in {self._encoding}",
                remedy="give its `encoding` in data.sources as it is, such as utf-16-le",
            ) from error
        self._line += text.count(b"\n")
        return text


def _only(data: bytes, records: Records, kept: NDArray[np.bool_]) -> bytes:
    """The text of some records; the last one of a file may lack its line end, so each gets on its own line."""
    chosen = np.repeat(kept, records.ends - records.starts)
    return np.frombuffer(data, np.uint8)[chosen].tobytes()
