"""Validates a day's rows with an expectation suite; what was found becomes checks, with a verdict by severity.

The days of a range share one suite, one context of the library and one index of the Data Docs (`DayGates`).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING, Final, Self

import pyarrow as pa
import pyarrow.compute as pc

from tallywright.data.types import sql_name
from tallywright.errors import TallyError
from tallywright.gates.data_docs import write_index
from tallywright.gates.expectations.frames import frame, named_columns
from tallywright.gates.expectations.plan import ExpectationOutcome, ExpectationPlan
from tallywright.gates.expectations.results import finding
from tallywright.gates.expectations.types import is_one_of
from tallywright.gates.library import Frames, build
from tallywright.gates.suite import checked_suite, read_suite

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from tallywright.gates.expectations.conditions import Condition
    from tallywright.gates.expectations.frames import View
    from tallywright.gates.expectations.results import CheckFinding
    from tallywright.gates.expectations.values import Columns
    from tallywright.gates.suite import CheckedExpectation, CheckedSuite

_NEEDS_VALUES: Final = frozenset({"value", "quantiles", "divergence", "common"})
"""Shapes of what has no figure where a column has no value."""
_OF_NULLS: Final = frozenset(
    {
        "expect_column_proportion_of_non_null_values_to_be_between",
        "expect_column_unique_value_count_to_be_between",
        "expect_column_sum_to_be_between",
    }
)
"""Figures that a column without a value has all the same."""


@dataclass
class _Group:
    """Expectations that are judged on the same view of the same rows.

    Attributes:
        view: The view.
        condition: The rows; None for all.
        places: Which expectations of the suite they are.
        columns: The columns that they are about.
        plan: Made with the first rows.
    """

    view: View
    condition: Condition | None
    places: list[int] = field(default_factory=list)
    columns: set[str] = field(default_factory=set)
    plan: ExpectationPlan | None = None


class SuiteValidator:
    """Validates any number of days with one suite, in one context of the library."""

    def __init__(self, suite: CheckedSuite) -> None:
        self.suite = suite

    def validate(self, rows: pa.Table, key: Sequence[str] = ()) -> list[CheckFinding]:
        """The findings of a day, one an expectation in the order of the suite.

        Args:
            rows: The rows of the day.
            key: The columns that name a row, shown with each example.

        Raises:
            SpecError: The library that is installed takes less than the suite asks for.
        """
        found: dict[int, CheckFinding] = {}
        with warnings.catch_warnings():
            # The library imports the deprecated sre_constants, and pandas warns of the dtypes it builds.
            warnings.simplefilter("ignore")
            for group in self._groups:
                judged, outcomes = self._outcomes(group, rows)
                for place, outcome in zip(group.places, outcomes, strict=True):
                    expected = self.suite.expectations[place]
                    found[place] = finding(expected.judged, outcome, judged, rows.num_rows, key)
        return [found[place] for place in range(len(self.suite.expectations))]

    def _outcomes(self, group: _Group, rows: pa.Table) -> tuple[pa.Table, list[ExpectationOutcome]]:
        """The rows that a group is about, and what was found."""
        expectations = [self.suite.expectations[place] for place in group.places]
        try:
            judged = rows if group.condition is None else group.condition.rows(rows)
        except Exception as error:  # noqa: BLE001 - such as a column of the condition that the day lacks
            return rows, [ExpectationOutcome(success=False, error=f"its row_condition: {error}")] * len(expectations)
        known = [_known(expected, judged) for expected in expectations]
        if None not in known:
            return judged, [outcome for outcome in known if outcome is not None]
        outcomes: Iterator[ExpectationOutcome]
        try:
            outcomes = iter(self._asked(group, judged))
        except (TallyError, ImportError):  # the suite, or what is installed, is at fault, and not the day
            raise
        except Exception as error:  # noqa: BLE001 - whatever the library raises about a day is said by its checks
            outcomes = repeat(ExpectationOutcome(success=False, error=f"{type(error).__name__}: {error}"))
        asked = [None if expected.kind.shape == "type" else next(outcomes) for expected in expectations]
        return judged, [
            own or outcome or ExpectationOutcome(success=False) for own, outcome in zip(known, asked, strict=True)
        ]

    def _asked(self, group: _Group, rows: pa.Table) -> list[ExpectationOutcome]:
        """What the library says of all expectations of a group but those of types, which are known without it."""
        batch = self._frames.load(frame(rows, group.view, group.columns))
        if group.plan is None:
            expectations = [self.suite.expectations[place] for place in group.places]
            group.plan = ExpectationPlan(batch, build(one for one in expectations if one.kind.shape != "type"))
        return group.plan.run()

    @cached_property
    def _groups(self) -> list[_Group]:
        groups: dict[tuple[str, View], _Group] = {}
        for place, expected in enumerate(self.suite.expectations):
            text = "" if expected.condition is None else expected.condition.text
            group = groups.setdefault((text, expected.view), _Group(expected.view, expected.condition))
            group.places.append(place)
            group.columns.update(named_columns(expected.values))
        return list(groups.values())

    @cached_property
    def _frames(self) -> Frames:
        return Frames(self.suite.dataset)


def _known(expected: CheckedExpectation, rows: pa.Table) -> ExpectationOutcome | None:
    """What is known without the library: of types, of columns that the day lacks, of no rows and of no values."""
    shape, about = expected.kind.shape, named_columns(expected.values)
    if shape == "columns" or expected.kind.subject == "table":
        return None
    lacking = [name for name in about if name not in rows.column_names]
    if lacking and shape != "exists":
        return ExpectationOutcome(success=False, error=f"the day has no column {', '.join(lacking)}")
    if shape == "type":
        kind = rows.schema.field(about[0]).type
        listed = expected.values.get("type_list") or [expected.values["type_"]]
        return ExpectationOutcome(success=is_one_of(kind, listed), result={"observed_value": sql_name(kind)})
    if shape in _NEEDS_VALUES and expected.config.expect not in _OF_NULLS and not _has_value(rows[about[0]]):
        return ExpectationOutcome(success=False)
    return None


def _has_value(column: pa.ChunkedArray) -> bool:
    missing = pc.is_null(column, nan_is_null=pa.types.is_floating(column.type))
    return not pc.all(missing, min_count=0).as_py()


def validate(suite: CheckedSuite, rows: pa.Table, key: Sequence[str] = ()) -> list[CheckFinding]:
    """Validates one day with a suite that is used once.

    Raises:
        SpecError: As for `SuiteValidator.validate`.
    """
    return SuiteValidator(suite).validate(rows, key)


class DayGates:
    """The suites that the days of one command share; the end of its `with` block writes the index of the Data Docs.

    Each suite is read once, so that all days of a range are validated by the same one.
    """

    def __init__(self) -> None:
        self._validators: dict[tuple[Path, str], SuiteValidator] = {}
        self._texts: dict[tuple[Path, str], str] = {}
        self._folders: dict[Path, str] = {}

    def text(self, file: Path, dataset: str) -> str:
        """The text of a dataset's suite, which is read at its first use.

        Raises:
            SpecError: The suite is missing or is no text.
        """
        if (file, dataset) not in self._texts:
            self._texts[file, dataset] = read_suite(file, dataset)
        return self._texts[file, dataset]

    def validator(self, file: Path, dataset: str, columns: Columns) -> SuiteValidator:
        """The validator of a dataset's suite, which is made at its first use.

        Args:
            file: Where the suite is.
            dataset: The dataset.
            columns: Its columns, by the spec.

        Raises:
            SpecError: The suite is missing, or something in it cannot be judged.
        """
        if (file, dataset) not in self._validators:
            suite = checked_suite(self.text(file, dataset), file, dataset, columns)
            self._validators[file, dataset] = SuiteValidator(suite)
        return self._validators[file, dataset]

    def judged(self, folder: Path, model: str) -> None:
        """Notes that the Data Docs in this folder have a new page, so that their index is written at the end."""
        self._folders[folder] = model

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._folders:
            write_index(*self._folders.popitem())
