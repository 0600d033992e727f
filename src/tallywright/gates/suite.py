"""Expectation suites: one YAML file per dataset, read and checked without Great Expectations.

```yaml
dataset: flight_delays__features
expectations:
  - expect: expect_column_values_to_be_between
    column: distance
    min_value: 0
    mostly: 0.99
    row_condition: origin == "JFK"
    severity: warning          # critical blocks the day, warning is reported, info is only recorded
    notes: Great-circle miles; the longest route is Honolulu.
```
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from tallywright.data.types import arrow_type, period_schema
from tallywright.errors import SpecError, did_you_mean
from tallywright.gates.expectations.checking import check_expectation
from tallywright.gates.expectations.frames import view_of
from tallywright.gates.expectations.kinds import KINDS, SUBJECTS
from tallywright.gates.expectations.results import Judged
from tallywright.gates.expectations.values import shown
from tallywright.gates.expectations.yaml_text import YamlText, read_yaml
from tallywright.records import Record
from tallywright.redaction import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tallywright.gates.expectations.conditions import Condition
    from tallywright.gates.expectations.frames import View
    from tallywright.gates.expectations.kinds import ExpectationKind
    from tallywright.gates.expectations.values import Columns
    from tallywright.spec import ModelSpec, Project

Severity = Literal["critical", "warning", "info"]
_LONGEST_BOUND = 200
_OWN_KEYS = frozenset({"expect", "severity", "notes"})
_ITEMS: Final = "expectations"


class ExpectationConfig(Record):
    """One expectation: its Great Expectations type in snake_case, how much it matters, and its arguments."""

    expect: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    severity: Severity = "critical"
    notes: str = ""
    arguments: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _flat_form(cls, value: Any) -> Any:
        """Collects every key that is not ours as an argument of the expectation."""
        if not isinstance(value, dict) or "arguments" in value:
            return value
        own = {key: item for key, item in value.items() if key in _OWN_KEYS}
        return own | {"arguments": {str(key): item for key, item in value.items() if key not in _OWN_KEYS}}

    @property
    def name(self) -> str:
        """The expectation with its columns, such as `expect_column_to_exist(distance)`."""
        about = [str(self.arguments[key]) for key in sorted(SUBJECTS & self.arguments.keys())]
        return visible(f"{self.expect}({', '.join(about)})")

    @property
    def bound(self) -> str:
        """The arguments that set the bounds, as in the file."""
        text = visible(", ".join(f"{key}={item}" for key, item in self.arguments.items() if key not in SUBJECTS))
        return text if len(text) <= _LONGEST_BOUND else text[: _LONGEST_BOUND - 1] + "…"


class Suite(Record):
    """All expectations of one dataset; an empty suite is refused, as it is no evidence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    expectations: tuple[ExpectationConfig, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class CheckedExpectation:
    """An expectation that can be judged.

    Attributes:
        config: As it stands in the file.
        kind: What is known of its kind.
        values: Its arguments, by the types of the columns.
        condition: The rows that it is about; None for all.
        view: What the library is shown of them.
    """

    config: ExpectationConfig
    kind: ExpectationKind
    values: Mapping[str, Any]
    condition: Condition | None
    view: View

    @property
    def judged(self) -> Judged:
        """What its finding needs to know."""
        config = self.config
        condition = "" if self.condition is None else self.condition.text
        return Judged(
            config.name, config.expect, self.kind, self.values, config.severity, config.bound, config.notes, condition
        )


@dataclass(frozen=True, slots=True)
class CheckedSuite:
    """A suite whose expectations can all be judged on the rows of a day."""

    dataset: str
    expectations: tuple[CheckedExpectation, ...]


def read_suite(file: Path, dataset: str) -> str:
    """The text of a suite file.

    Raises:
        SpecError: The file is missing or is no text.
    """
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SpecError(
            f"{file}: no such file, so nothing can judge a day of {dataset}",
            expected="a suite with at least one expectation",
            remedy="write one; `tally init` writes an example",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SpecError(f"{file}: {reason}", expected="readable YAML") from error


def parse_suite(text: str, file: Path, dataset: str) -> Suite:
    """Reads a suite and checks its structure; `checked_suite` also checks what the expectations ask for.

    Raises:
        SpecError: The text is not YAML, has another form (all problems at once), or another dataset.
    """
    content = read_yaml(text, file)
    suite, problems = _structured(content, file)
    if suite is None:
        raise SpecError(
            "the suite does not have the form of one:\n" + "\n".join(f"  - {problem}" for problem in problems),
            expected="`dataset` and a list `expectations` of {expect, severity, notes, …arguments}",
        )
    if suite.dataset != dataset:
        raise SpecError(
            f"{content.place(file, 'dataset')}: dataset: found {shown(suite.dataset)!r}",
            expected=repr(dataset),
            remedy="correct the name, or point `data.expectations` to the right file",
        )
    return suite


def checked_suite(text: str, file: Path, dataset: str, columns: Columns) -> CheckedSuite:
    """Reads a suite and checks all of it against the columns of the spec.

    Raises:
        SpecError: Names every problem.
    """
    problems = suite_problems(text, file, dataset, columns)
    if problems:
        raise SpecError(
            f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in the suite:\n"
            + "\n".join(f"  - {problem}" for problem in problems),
            expected="expectations that can be judged on the rows of a day, with the arguments they take",
            remedy="correct the file, then tally validate; docs/expectations.md lists what may stand in it",
        )
    suite = parse_suite(text, file, dataset)
    return CheckedSuite(dataset, tuple(_checked(config, columns) for config in suite.expectations))


def _checked(config: ExpectationConfig, columns: Columns) -> CheckedExpectation:
    found, kind = check_expectation(config.expect, config.arguments, columns), KINDS[config.expect]
    view = view_of(config.expect, kind, found.values, columns)
    return CheckedExpectation(config, kind, found.values, found.condition, view)


def suite_problems(text: str, file: Path, dataset: str, columns: Columns) -> list[str]:
    """All that is wrong with a suite, each problem with its file, line and path; nothing is imported for it."""
    try:
        content = read_yaml(text, file)
    except SpecError as error:
        return [error.found]
    suite, problems = _structured(content, file)
    named = content.values.get("dataset") if isinstance(content.values, dict) else None
    if isinstance(named, str) and named != dataset:
        problems.append(f"{content.place(file, 'dataset')}: dataset: found {shown(named)!r}, expected {dataset!r}")
    items = content.values.get(_ITEMS) if isinstance(content.values, dict) else None
    configs = enumerate(suite.expectations) if suite is not None else _sound(items)
    for number, config in configs:
        for key, problem in check_expectation(config.expect, config.arguments, columns).problems:
            place = content.place(file, _ITEMS, number, key)
            path = f"{_ITEMS}.{number}" + (f".{key}" if key in config.arguments else "")
            own = "" if key == "expect" else f"{config.expect}: "
            problems.append(f"{place}: {path}: {own}{problem}")
    return problems


def problems_of_project(project: Project) -> list[str]:
    """What is wrong with a project's suite; nothing where there is none, which is a problem of the project's files."""
    file, dataset = project.expectations, project.spec.table("features")
    try:
        return (
            suite_problems(read_suite(file, dataset), file, dataset, day_columns(project.spec))
            if file.is_file()
            else []
        )
    except SpecError as error:
        return [error.found]


def _structured(content: YamlText, file: Path) -> tuple[Suite | None, list[str]]:
    try:
        return Suite.model_validate(content.values), []
    except ValidationError as error:
        return None, [f"{content.place(file, *detail['loc'])}: {_explain(detail)}" for detail in error.errors()]
    except RecursionError:
        return None, [f"{file}: it is nested too deep"]


def _sound(items: Any) -> Iterator[tuple[int, ExpectationConfig]]:
    """The expectations that have the form of one, where others have not."""
    for number, item in enumerate(items if isinstance(items, list) else ()):
        try:
            yield number, ExpectationConfig.model_validate(item)
        except ValidationError:
            continue


def day_columns(spec: ModelSpec) -> dict[str, Any]:
    """The columns of a day with their types: those of the period, then data.columns; None for an unknown type."""
    columns: dict[str, Any] = {field.name: field.type for field in period_schema(spec)}
    for name, declared in spec.data.columns.items():
        try:
            columns[name] = arrow_type(declared, "")
        except SpecError:
            columns[name] = None  # the check of the spec says so
    return columns


def _explain(detail: Any) -> str:
    path = ".".join(str(part) for part in detail["loc"]) or "(whole file)"
    found = detail["input"]
    if detail["type"] == "extra_forbidden":
        return f"{path}: unknown key{did_you_mean(str(detail['loc'][-1]), ['dataset', 'expectations'])}"
    # What is no suite at all may be another file, of which nothing is shown.
    is_part = len(detail["loc"]) > 1 and not isinstance(found, dict | list)
    return f"{path}: {f'found {shown(found)!r}; ' if is_part else ''}{detail['msg']}"
