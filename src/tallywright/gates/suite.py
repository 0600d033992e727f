"""Expectation suites: one YAML file per dataset, read, checked and built into Great Expectations' objects.

```yaml
dataset: flight_delays__features
expectations:
  - expect: expect_column_values_to_be_between
    column: distance
    min_value: 0
    mostly: 0.99
    severity: warning          # critical blocks the day, warning is reported, info is only recorded
    notes: Great-circle miles; the longest route is Honolulu.
```
"""

from __future__ import annotations

import os
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal

import yaml
from pydantic import ConfigDict, Field, ValidationError, model_validator

from tallywright.errors import SpecError, did_you_mean
from tallywright.gates.lean_import import lean_import
from tallywright.records import Record

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

Severity = Literal["critical", "warning", "info"]
_SUBJECTS = frozenset({"column", "column_A", "column_B", "column_list"})
_LONGEST_BOUND = 200
_OWN_KEYS = frozenset({"expect", "severity", "notes"})

OTHER_SOURCES: Final = frozenset(
    {"boto3", "botocore", "google.auth", "google.cloud", "google.oauth2", "psycopg2", "pyspark", "sqlalchemy"}
)
"""What the library imports where it is installed, for data that are not frames of pandas."""
SELDOM_USED: Final = frozenset({"altair", "scipy.stats"})
"""What two or three of its expectations use."""


class Frames:
    """An ephemeral Great Expectations context that loads the frames of one dataset, one after another."""

    def __init__(self, dataset: str) -> None:
        self._context = _context()
        asset = self._context.data_sources.add_pandas("day").add_dataframe_asset(dataset)
        self._definition = asset.add_batch_definition_whole_dataframe("day")

    def load(self, rows: pd.DataFrame) -> Any:
        """Loads rows as the library's batch, replacing the one before; all batches have the same id."""
        batch = self._definition.get_batch({"dataframe": rows})
        batch.data.execution_engine.batch_manager.load_batch_list([batch])
        return batch


def build(suite: Suite, file: Path) -> list[Any]:
    """Builds the library's expectation objects of a suite.

    Raises:
        SpecError: An expectation that does not exist, or arguments it does not take, all problems at once.
    """
    gxe = _library().expectations
    types = {
        getattr(gxe, name).expectation_type: getattr(gxe, name)
        for name in dir(gxe)
        if name.startswith("Expect") and hasattr(getattr(gxe, name), "expectation_type")
    }
    built: list[Any] = []
    problems: list[str] = []
    for index, expected in enumerate(suite.expectations):
        try:
            built.append(_build_one(expected, types))
        except ValueError as error:
            problems.append(f"{file}: expectations.{index}: {error}")
    if problems:
        raise SpecError(
            f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in the suite:\n"
            + "\n".join(f"  - {problem}" for problem in problems),
            expected="expectations of Great Expectations with the arguments they take",
            remedy="https://greatexpectations.io/expectations lists them",
        )
    return built


@cache
def _library() -> Any:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with warnings.catch_warnings(), lean_import(absent=OTHER_SOURCES, late=SELDOM_USED):
        warnings.simplefilter("ignore")  # the library imports a deprecated module of the standard library
        import great_expectations as gx
        import great_expectations.expectations
    return gx


def _context() -> Any:
    context = _library().get_context(mode="ephemeral")
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context.enable_analytics(enable=False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def _build_one(expected: ExpectationConfig, types: dict[str, Any]) -> Any:
    kind = types.get(expected.expect)
    if kind is None:
        raise ValueError(f"no expectation {expected.expect!r}{did_you_mean(expected.expect, sorted(types))}")
    try:
        return kind(**expected.arguments, severity=expected.severity, notes=expected.notes or None)
    except ValueError as error:  # the pydantic v1 error of the library is one
        details: list[dict[str, Any]] = getattr(error, "errors", list)()
        text = "; ".join(_argument_problem(detail, kind) for detail in details) or str(error)
        raise ValueError(f"{expected.expect}: {text}") from error


def _argument_problem(detail: dict[str, Any], kind: Any) -> str:
    name = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "value_error.extra":
        return f"unknown argument {name!r}{did_you_mean(name, sorted(kind.__fields__))}"
    return f"{name}: {detail['msg']}" if name != "__root__" else str(detail["msg"])


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
        about = [str(self.arguments[key]) for key in sorted(_SUBJECTS & self.arguments.keys())]
        return f"{self.expect}({', '.join(about)})"

    @property
    def bound(self) -> str:
        """The arguments that set the bounds, as in the file."""
        text = ", ".join(f"{key}={item}" for key, item in self.arguments.items() if key not in _SUBJECTS)
        return text if len(text) <= _LONGEST_BOUND else text[: _LONGEST_BOUND - 1] + "…"


class Suite(Record):
    """All expectations of one dataset; an empty suite is refused, as it is no evidence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    expectations: tuple[ExpectationConfig, ...] = Field(min_length=1)


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
            remedy="write one; docs show the form, expectations/flight_delays__features.yaml is an example",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{file}: {error}", expected="readable YAML") from error


def parse_suite(text: str, file: Path, dataset: str) -> Suite:
    """Reads a suite and checks its structure; `build` checks whether the expectations exist.

    Raises:
        SpecError: The text is not YAML, has another form (all problems at once), or another dataset.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SpecError(f"{file}: {error}", expected="readable YAML") from error
    try:
        suite = Suite.model_validate(content)
    except ValidationError as error:
        problems = "\n".join(f"  - {file}: {_explain(detail)}" for detail in error.errors())
        raise SpecError(
            f"the suite does not have the form of one:\n{problems}",
            expected="`dataset` and a list `expectations` of {expect, severity, notes, …arguments}",
        ) from error
    if suite.dataset != dataset:
        raise SpecError(
            f"{file}: dataset: found {suite.dataset!r}",
            expected=repr(dataset),
            remedy="correct the name, or point `data.expectations` to the right file",
        )
    return suite


def _explain(detail: Any) -> str:
    path = ".".join(str(part) for part in detail["loc"]) or "(whole file)"
    found = detail["input"]
    if detail["type"] == "extra_forbidden":
        return f"{path}: unknown key{did_you_mean(str(detail['loc'][-1]), ['dataset', 'expectations'])}"
    shown = "" if isinstance(found, dict | list) else f"found {found!r}; "
    return f"{path}: {shown}{detail['msg']}"
