"""Sets of CSV files with faults of the real world, made at random, that know what has to become of each line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

COLUMNS: Final = ("id", "day", "amount", "kind")
TYPES: Final = {"amount": "DOUBLE"}
_TEXTS: Final = (
    "a", "b", "NA", "na", "-", "", " x ", "#no comment", "größer", 'say "no"', '5" pipe', "a,b;c|d\te", "two\nlines",
    "two\r\nlines", "\\", "'", "null", '""', ",", '"',
)  # fmt: skip
_NUMBERS: Final = ("0", "-1.5", "1e3", "17", "0.25")
_NO_NUMBERS: Final = ("n/a", "1,5", "12 kg", "--")
_FAULTS: Final = (
    "no header", "renamed", "doubled", "blanks", "other delimiter", "wide", "narrow", "commented", "cut", "no quote",
    "no text", "byte 0", "no bytes", "bad cell", "lacks a column",
)  # fmt: skip
_RENAMED: Final = {("renamed", "amount"): "amuont", ("doubled", "kind"): "day", ("blanks", "amount"): " amount"}
_HARMLESS: Final = ("permuted", "mark", "empty lines", "no last line end", "a column more", "header alone")


@dataclass
class Expected:
    """What has to become of one file.

    Attributes:
        name: What it is called.
        rows: Line and cells of each row that is read.
        unreadable: Line and reason of each that is not.
        refused: Lines of which one may be named when the file is refused; 0 for the file alone. Empty: it is read.
        columns: Of its header; none of a file without one.
    """

    name: str
    rows: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    unreadable: list[tuple[int, str]] = field(default_factory=list)
    refused: set[int] = field(default_factory=set)
    columns: tuple[str, ...] = ()


@dataclass
class CsvSet:
    """One to four files of a source, and how the spec says they are read."""

    source: dict[str, Any]
    files: list[Expected]

    @property
    def is_refused(self) -> bool:
        return any(file.refused for file in self.files)

    def allows(self, message: str) -> bool:
        """True for a refusal that names a file and, where a line is to blame, this line."""
        for file in self.files:
            for line in file.refused:
                named = rf"{re.escape(file.name)} line {line}\b" if line else re.escape(file.name)
                if re.search(named, message):
                    return True
        return False


class _File:
    """One file as it is written."""

    def __init__(self, number: Random, source: dict[str, Any], expected: Expected, *, faulty: bool) -> None:
        self._number, self._source, self.expected = number, source, expected
        self._delimiter = source["delimiter"]
        given = source["null_value"]
        self._nulls = (given,) if isinstance(given, str) else tuple(given)
        self._ends = number.choice((("\n",), ("\r\n",), ("\n", "\r\n")))
        self._text, self._line = "", 1
        self.fault = number.choice(_FAULTS) if faulty else number.choice(("", *_HARMLESS))

    def bytes(self) -> bytes:
        """The file."""
        number, fault, expected = self._number, self.fault, self.expected
        if fault == "no bytes":
            expected.refused |= set() if self._source["allow_empty"] else {0}
            return b""
        self._header()
        count = number.randrange(12) if fault != "header alone" else 0
        worst = number.randrange(count + 1)
        for place in range(count + 1):
            if place == worst:
                self._faulty_row()
            if place < count:
                self._row(quoted=fault != "no quote")
        if fault == "no last line end" and self._text.endswith("\n"):
            self._text = self._text[:-1].removesuffix("\r")
        return self._encoded()

    def _encoded(self) -> bytes:
        encoding = self._source["encoding"]
        data = (("\ufeff" if self.fault == "mark" and encoding == "utf-8" else "") + self._text).encode(encoding)
        if self.fault == "no text" and encoding == "utf-8":
            line = self._line
            self.expected.refused.add(line)
            data += b"x\xff\xfe"
        return data

    def _header(self) -> None:
        self.names = list(COLUMNS)
        fault = self.fault
        if fault == "permuted":
            self._number.shuffle(self.names)
        if fault == "a column more":
            self.names.insert(self._number.randrange(5), "note")
        if fault == "lacks a column":
            self.names.remove(self._number.choice(COLUMNS))
        self.expected.columns = tuple(self.names)
        written = [_RENAMED.get((fault, name), name) for name in self.names]
        sign = self._delimiter
        if fault == "other delimiter":
            sign = next(one for one in ";,|\t" if one != sign)
        if fault == "no header":
            self._row(quoted=True)
            self.expected.rows.clear()
            self.expected.refused.add(1)
            return
        quote = self._number.choice(('"', ""))
        self._write(sign.join(f"{quote}{name}{quote}" for name in written))
        if fault in ("doubled", "other delimiter"):
            self.expected.refused.add(1)
        if fault in ("renamed", "blanks"):
            self.expected.refused.add(0)

    def _faulty_row(self) -> None:
        fault, line, number = self.fault, self._line, self._number
        width = len(self.names)
        if fault == "empty lines":
            for _ in range(number.randrange(1, 4)):
                self._write("")
        if fault == "commented":
            self._write("# end of export")
            self._ragged(line, 1, width)
        if fault == "wide":
            fields = width + number.randrange(1, 3)
            self._write(self._delimiter.join(["x"] * fields))
            self._ragged(line, fields, width)
        if fault == "narrow":
            fields = number.randrange(1, width)
            self._write(self._delimiter.join(["x"] * fields))
            self._ragged(line, fields, width)
        if fault == "no quote":
            self._write(self._delimiter.join(["x"] * (width - 1) + ['"open']))
            self.expected.refused.add(line)
        if fault == "byte 0":
            self._write(self._delimiter.join(["x"] * (width - 1) + ["\0"]))
            self.expected.refused.add(line)
        if fault == "bad cell":
            cell = number.choice(_NO_NUMBERS)
            self._write(self._delimiter.join(["x", "2024-01-01", f'"{cell}"', "x"]))
            hint = ": a decimal comma?" if re.fullmatch(r"[-+]?[0-9][0-9.]*,[0-9]+", cell.strip()) else ""
            self.expected.unreadable.append((line, f"amount: '{cell}' is not a DOUBLE{hint}"))

    def cut(self) -> None:
        """A last line that ends too early."""
        line, width = self._line, len(self.names)
        self._text += self._delimiter.join(["x"] * (width - 1))
        self._ragged(line, width - 1, width)

    def _ragged(self, line: int, fields: int, width: int) -> None:
        if self._source["bad_lines"] == "refuse":
            self.expected.refused.add(line)
        else:
            said = "field" if fields == 1 else "fields"
            self.expected.unreadable.append((line, f"{fields} {said}, the header has {width}"))

    def _row(self, *, quoted: bool) -> None:
        number, line = self._number, self._line
        cells: dict[str, Any] = {}
        texts = []
        for name in self.names:
            if number.random() < 0.15:
                cells[name] = None
                texts.append(number.choice(self._nulls))
                continue
            text = number.choice(_NUMBERS) if name == "amount" else number.choice(_TEXTS)
            if not quoted:
                text = text if name == "amount" else "plain"
            cells[name] = float(text) if name == "amount" else text
            texts.append(self._cell(text, quoted=quoted))
        self.expected.rows.append((line, cells))
        self._write(self._delimiter.join(texts))

    def _cell(self, text: str, *, quoted: bool) -> str:
        must = (
            text in self._nulls or text.startswith('"') or any(sign in text for sign in (self._delimiter, "\n", "\r"))
        )
        if quoted and (must or self._number.random() < 0.3):
            return '"' + text.replace('"', '""') + '"'
        return text

    def _write(self, text: str) -> None:
        end = self._number.choice(self._ends)
        self._text += text + end
        self._line += text.replace("\r\n", "\n").count("\n") + 1


def csv_set(number: Random, folder: Path) -> CsvSet:
    """Writes `part-0.csv` and so on into a folder."""
    source = {
        "path": "part-*.csv",
        "strict": True,
        "types": TYPES,
        "delimiter": number.choice((",", ";", "\t", "|")),
        "null_value": number.choice(("", "NA", ("NA", "-", ""))),
        "encoding": number.choice(("utf-8", "utf-8", "latin-1", "cp1252", "utf-16")),
        "bad_lines": number.choice(("refuse", "quarantine")),
        "allow_empty": number.random() < 0.5,
    }
    files = []
    for place in range(number.randrange(1, 5)):
        expected = Expected(f"part-{place}.csv")
        file = _File(number, source, expected, faulty=number.random() < 0.3)
        data = file.bytes()
        if file.fault == "cut":
            file.cut()
            data = file._encoded()
        (folder / expected.name).write_bytes(data)
        files.append(expected)
    if all(not (folder / file.name).stat().st_size for file in files):
        for file in files:
            file.refused.add(0)
    for name in COLUMNS:
        lacking = [file for file in files if file.columns and name not in file.columns]
        if lacking and (name in TYPES or any(name in file.columns for file in files)):
            for file in lacking:
                file.refused.add(0)
    return CsvSet(source, files)
