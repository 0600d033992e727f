"""Every error that Tallywright raises on purpose: what was found, what was expected, what to do.

Each class has one exit code, so that a script (or Airflow) can tell the causes apart, and says whether a
retry can help. `docs/errors.md` lists the codes.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallywright.redaction import without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


_LONGEST_NAME = 200
"""Of a longer one nothing is near."""


@dataclass(frozen=True, slots=True)
class SpecProblem:
    """One mistake in a file of the project, or in a `--set`.

    Attributes:
        where: The file, or the `--set` text.
        line: The line in the file, where it is known.
        path: The path of the key.
        text: What was found and what was expected, with the path.
        found: The value as it was found.
        nearest: The nearest match that there is.
    """

    where: str
    line: int | None
    path: str
    text: str
    found: str = ""
    nearest: str = ""

    def __post_init__(self) -> None:
        """Cuts what is too long to be read: names and `--set` texts may have any length."""
        for name, most in (("where", 1_000), ("path", 1_000), ("text", 20_000), ("found", 1_000)):
            value = getattr(self, name)
            if len(value) > most:
                object.__setattr__(self, name, f"{value[:most]}…")

    def __str__(self) -> str:
        return f"{self.where}{'' if self.line is None else f':{self.line}'}: {self.text}"


class TallyError(Exception):
    """The base of all expected failures; printed without a traceback.

    Args:
        found: What is wrong, with the offending value and where it stands.
        expected: What would have been right: a list, a bound, the nearest match.
        remedy: What the reader can do now, a command where there is one.
        checks: Names of the checks that failed, where a gate refuses.
    """

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, found: str, *, expected: str = "", remedy: str = "", checks: tuple[str, ...] = ()) -> None:
        found = without_credentials(found)  # here, since errors are printed, logged, and kept in tables
        super().__init__(found)
        self.found = found
        self.expected = without_credentials(expected)
        self.remedy = without_credentials(remedy)
        self.checks = checks

    def __str__(self) -> str:
        lines = [self.found]
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.remedy:
            lines.append(f"  to do:    {self.remedy}")
        return "\n".join(lines)

    @property
    def known_as(self) -> str:
        """The class by which tables and programs know it: its own, unless it is a detail of another."""
        return type(self).__name__

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.found, self.expected, self.remedy, self.checks))


def _rebuild(cls: type[TallyError], found: str, expected: str, remedy: str, checks: tuple[str, ...] = ()) -> TallyError:
    return cls(found, expected=expected, remedy=remedy, checks=checks)


def first_line(error: Exception) -> str:
    """What an error says, in one line of at most 300 characters and without credentials; else its type."""
    return without_credentials((str(error).strip().splitlines() or [type(error).__name__])[0])[:300]


def listed(texts: Sequence[str], most: int = 5, between: str = ", ") -> str:
    """The first few of some texts, and how many more there are."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return between.join(texts[:most]) + more


def closest(name: str, known: Iterable[str]) -> str:
    """The known name that a mistyped one is closest to; empty when none is close. Never the name itself."""
    close = difflib.get_close_matches(name[:_LONGEST_NAME], [one for one in known if one != name], n=1)
    return close[0] if close else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint to append to a mistyped name: the closest known one; empty when none is close."""
    close = closest(name, known)
    return f" (did you mean {close!r}?)" if close else ""


class UsageError(TallyError):
    """A command or parameter that cannot be understood: a bad date, an unknown step or model."""

    exit_code = 2


class SpecError(TallyError):
    """A spec (or overlay, or `--set`) that is not valid; carries every problem at once.

    Args:
        found: As of every error.
        expected: As of every error.
        remedy: As of every error.
        checks: As of every error.
        problems: Each mistake by itself, where `found` lists them.
    """

    exit_code = 3

    def __init__(
        self,
        found: str,
        *,
        expected: str = "",
        remedy: str = "",
        checks: tuple[str, ...] = (),
        problems: tuple[SpecProblem, ...] = (),
    ) -> None:
        super().__init__(found, expected=expected, remedy=remedy, checks=checks)
        self.problems = problems

    def __reduce__(self) -> tuple[object, ...]:
        return (_spec_error, (type(self), self.found, self.expected, self.remedy, self.checks, self.problems))


def _spec_error(
    cls: type[SpecError],
    found: str,
    expected: str,
    remedy: str,
    checks: tuple[str, ...],
    problems: tuple[SpecProblem, ...],
) -> SpecError:
    return cls(found, expected=expected, remedy=remedy, checks=checks, problems=problems)


class InputError(TallyError):
    """Input data that must not be used: missing or mistyped column, duplicate keys, empty or unchecked day."""

    exit_code = 4


class TableContractError(TallyError):
    """A Delta table that breaks the table contract: unsupported features, foreign schema, bad statistics."""

    exit_code = 5


class PackageError(TallyError):
    """A model package that is missing, incomplete, altered, or does not fit this environment."""

    exit_code = 6


class NoChampionError(TallyError):
    """No model is in production for the date asked for."""

    exit_code = 7


class GateRefusedError(TallyError):
    """A gate, or a missing piece of its evidence, refuses the transition or the day."""

    exit_code = 8


class LeakError(TallyError):
    """A model that has seen data past the score date was about to score that date."""

    exit_code = 9


class CommitConflictError(TallyError):
    """Another writer committed first, with other inputs; a retry decides again."""

    exit_code = 10
    retryable = True


class StorageError(TallyError):
    """Storage that cannot be read or written: missing, read-only, full."""

    exit_code = 11
    retryable = True


class TrackingError(TallyError):
    """MLflow that cannot be reached or does not hold what was asked for."""

    exit_code = 12
    retryable = True


class RangeError(TallyError):
    """A range of which some days failed with retryable errors; a repeat skips the days that are done."""

    exit_code = 14
    retryable = True


class EngineError(TallyError):
    """A scoring engine that failed as such: workers lost, without the right software, or ended by their cluster."""

    exit_code = 13
    retryable = True


class UnexpectedError(TallyError):
    """Whatever was raised and is none of ours, where other work goes on all the same: a bug."""

    exit_code = 70
    retryable = True

    @classmethod
    def of(cls, error: Exception) -> TallyError:
        """An error as one of ours: itself, or what stands for it."""
        if isinstance(error, TallyError):
            return error
        return cls(f"unexpected {type(error).__name__}: {str(error)[:500]}", remedy="run it again with `tally -v …`")


class IntegrityError(TallyError):
    """Stored files or records that are not what was committed; names the file, the date and how to repair it."""

    exit_code = 15
