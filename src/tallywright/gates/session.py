"""What the day gates of a range share: the suite, made ready once, and the index of the Data Docs, written once."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from tallywright.gates.data_docs import write_index
from tallywright.gates.suite import load_suite
from tallywright.gates.validate import SuiteValidator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType


class DayGates:
    """The day gates of one command; use it in a `with`, whose end writes the index of the days judged.

    A range is judged by the suite as its first day found it, so that it is one suite for all of them.
    """

    def __init__(self) -> None:
        self._validators: dict[tuple[Path, str], SuiteValidator] = {}
        self._folders: dict[Path, str] = {}

    def validator(self, file: Path, dataset: str) -> SuiteValidator:
        """The suite of a dataset, read at its first use.

        Raises:
            SpecError: The suite is missing or is not one.
        """
        if (file, dataset) not in self._validators:
            self._validators[file, dataset] = SuiteValidator(load_suite(file, dataset), file)
        return self._validators[file, dataset]

    def judged(self, folder: Path, model: str) -> None:
        """Remembers that the Data Docs in this folder have a day that their index does not show yet."""
        self._folders[folder] = model

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._folders:
            write_index(*self._folders.popitem())

    @classmethod
    @contextmanager
    def borrowed(cls, gates: DayGates | None) -> Iterator[DayGates]:
        """The caller's day gates, which go on afterwards; or new ones, which do not."""
        if gates is not None:
            yield gates
            return
        with cls() as own:
            yield own
