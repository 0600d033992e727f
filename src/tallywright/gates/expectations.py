"""The home of Great Expectations: its objects for a suite, and batches of rows, without project folders or a network.

The library is imported inside the functions, because the import alone takes seconds.
"""

from __future__ import annotations

import os
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import SpecError, did_you_mean
from tallywright.gates.lean_import import lean_import

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from tallywright.gates.suite import Expected, Suite


OTHER_SOURCES: Final = frozenset(
    {"boto3", "botocore", "google.auth", "google.cloud", "google.oauth2", "psycopg2", "pyspark", "sqlalchemy"}
)
"""What the library imports where it is installed, for data that are not frames of pandas."""
SELDOM_USED: Final = frozenset({"altair", "scipy.stats"})
"""What two or three of its expectations use."""


class Frames:
    """One ephemeral context of the library, for frames of one dataset, one after another."""

    def __init__(self, dataset: str) -> None:
        self._context = _context()
        asset = self._context.data_sources.add_pandas("day").add_dataframe_asset(dataset)
        self._definition = asset.add_batch_definition_whole_dataframe("day")

    def load(self, rows: pd.DataFrame) -> Any:
        """The library's batch of these rows, in place of the one before: all have the same id."""
        batch = self._definition.get_batch({"dataframe": rows})
        batch.data.execution_engine.batch_manager.load_batch_list([batch])
        return batch


def build(suite: Suite, file: Path) -> list[Any]:
    """The library's objects for a suite's expectations.

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


def _build_one(expected: Expected, types: dict[str, Any]) -> Any:
    kind = types.get(expected.expect)
    if kind is None:
        raise ValueError(f"no expectation {expected.expect!r}{did_you_mean(expected.expect, sorted(types))}")
    try:
        return kind(**expected.arguments, severity=expected.severity, notes=expected.notes or None)
    except ValueError as error:  # the pydantic v1 error of the library is one
        details: list[dict[str, Any]] = getattr(error, "errors", list)()
        said = "; ".join(_argument_problem(detail, kind) for detail in details) or str(error)
        raise ValueError(f"{expected.expect}: {said}") from error


def _argument_problem(detail: dict[str, Any], kind: Any) -> str:
    name = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "value_error.extra":
        return f"unknown argument {name!r}{did_you_mean(name, sorted(kind.__fields__))}"
    return f"{name}: {detail['msg']}" if name != "__root__" else str(detail["msg"])
