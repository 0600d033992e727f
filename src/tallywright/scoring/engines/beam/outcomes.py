"""Outcomes of splits, and the folder through which they reach the driver on every runner.

A runner may be anywhere and run a split twice; all that the workers and the driver surely share is the lake. So each
attempt writes one small file in a folder of the run below the scores table, hidden from Delta readers by its name.
"""

from __future__ import annotations

import base64
import contextlib
import json
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from pyarrow import fs

from tallywright.data.storage.filesystem import filesystem_of
from tallywright.data.upkeep.table_folder import RUNS
from tallywright.errors import StorageError
from tallywright.records import Record
from tallywright.scoring.worker.failure import Failure
from tallywright.scoring.worker.kernel import PartManifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_GATHERED: Final = "gathered"


def packed(failure: Failure) -> str:
    """Encodes a failure as base64, which no layer of quoting on its way changes."""
    return base64.urlsafe_b64encode(failure.to_json().encode()).decode()


def unpacked(word: str) -> Failure | None:
    """Decodes what `packed` made; None for anything else, such as a text that was cut off."""
    try:
        return Failure.from_json(base64.urlsafe_b64decode(word).decode())
    except ValueError:
        return None


class Outcome(Record):
    """The result of one attempt at a split: a part, or an error that no other attempt would cure."""

    split: int
    part: PartManifest | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class OutcomeFolder:
    """The folder with the outcomes of one run; it pickles, so that workers can have it."""

    folder: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Storage options of the lake; they may hold secrets."""

    @classmethod
    def below(cls, table: str, options: Mapping[str, str]) -> OutcomeFolder:
        """A new folder for one run, below a table."""
        return cls(f"{table.rstrip('/')}/{RUNS}/{uuid.uuid4()}", options)

    def put(self, outcome: Outcome) -> str:
        """Writes the outcome of an attempt and returns the name of its file."""
        return self._write(f"split-{outcome.split:05d}-{uuid.uuid4()}.json", outcome.to_json())

    def gather(self, names: Iterable[str]) -> str:
        """Writes the names of the outcomes that the runner counts as its result."""
        return self._write(f"{_GATHERED}-{uuid.uuid4()}.json", json.dumps(sorted(names)))

    def outcomes(self) -> dict[str, Outcome]:
        """The outcomes of all attempts by the name of their file; files that are being written are left out."""
        found = {}
        for name, text in self._texts("split-").items():
            with contextlib.suppress(ValueError):
                found[name] = Outcome.from_json(text)
        return found

    def gathered(self) -> frozenset[str] | None:
        """The names that `gather` wrote; None if it never ran. When it ran twice, both files are equal."""
        for text in self._texts(_GATHERED).values():
            with contextlib.suppress(ValueError):
                return frozenset(json.loads(text))
        return None

    def remove(self) -> None:
        """Deletes the folder; what cannot be deleted is left for maintenance."""
        filesystem, inner = filesystem_of(self.folder, self.options)
        with contextlib.suppress(OSError, pa.ArrowException):
            filesystem.delete_dir(inner)

    def _write(self, name: str, text: str) -> str:
        filesystem, inner = filesystem_of(self.folder, self.options)
        try:
            filesystem.create_dir(inner, recursive=True)
            with filesystem.open_output_stream(f"{inner}/{name}") as stream:
                stream.write(text.encode())
        except OSError as error:
            raise StorageError(
                f"a worker cannot write below {self.folder}: {error}",
                expected="room and permission to write where the parts go",
                remedy="check permissions and free space; the table is unchanged, run it again",
            ) from error
        return name

    def _texts(self, prefix: str) -> dict[str, str]:
        filesystem, inner = filesystem_of(self.folder, self.options)
        texts = {}
        for info in filesystem.get_file_info(fs.FileSelector(inner, allow_not_found=True)):
            if info.base_name.startswith(prefix):
                with filesystem.open_input_stream(info.path) as stream:
                    texts[info.base_name] = stream.read().decode()
        return dict(sorted(texts.items()))
