"""Expected errors as records, to travel from a worker to the driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallywright import errors
from tallywright.records import Record

if TYPE_CHECKING:
    from tallywright.errors import TallyError


class Failure(Record):
    """A TallyError as a record; a subclass that `errors` does not define becomes its nearest base there."""

    kind: str
    found: str
    expected: str
    remedy: str

    @classmethod
    def of(cls, error: TallyError) -> Failure:
        """The error as a record."""
        kind = next(k.__name__ for k in type(error).__mro__ if getattr(errors, k.__name__, None) is k)
        return cls(kind=kind, found=error.found, expected=error.expected, remedy=error.remedy)

    def error(self) -> TallyError:
        """The error itself."""
        made: TallyError = getattr(errors, self.kind)(self.found, expected=self.expected, remedy=self.remedy)
        return made
