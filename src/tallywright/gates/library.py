"""Great Expectations itself: imported lean and silenced, with the objects that a checked suite becomes."""

from __future__ import annotations

import logging
import os
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import SpecError
from tallywright.gates.expectations.frames import for_view
from tallywright.gates.expectations.results import shown_line
from tallywright.gates.lean_import import lean_import

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from tallywright.gates.suite import CheckedExpectation

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


def build(expectations: Iterable[CheckedExpectation]) -> list[Any]:
    """Builds the library's objects of checked expectations.

    Raises:
        SpecError: The library takes less than the check did: another version of it.
    """
    types = kinds()
    return [_build_one(expected, types[expected.config.expect]) for expected in expectations]


def _build_one(expected: CheckedExpectation, kind: Any) -> Any:
    values = for_view(expected.values, expected.view)
    try:
        return kind(**values, severity=expected.config.severity, notes=expected.config.notes or None)
    except (ValueError, TypeError) as error:  # the pydantic v1 error of the library is one
        raise SpecError(
            f"{expected.config.name}: {shown_line(str(error))}",
            expected="arguments that Great Expectations takes",
            remedy="correct the suite; `tally validate` says what may stand in it",
        ) from error


@cache
def kinds() -> dict[str, Any]:
    """The library's classes of expectations, by the names that suites use."""
    gxe = library().expectations
    classes = [found for name in dir(gxe) if isinstance(found := getattr(gxe, name), type)]
    return {found.expectation_type: found for found in classes if hasattr(found, "expectation_type")}


@cache
def library() -> Any:
    """The package, imported at the first call; it tells nobody anything and logs nothing."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    silent = logging.getLogger("great_expectations")
    silent.addHandler(logging.NullHandler())
    silent.propagate = False
    shows = warnings.showwarning
    with warnings.catch_warnings(), lean_import(absent=OTHER_SOURCES, late=SELDOM_USED):
        warnings.simplefilter("ignore")  # the library imports a deprecated module of the standard library
        import great_expectations as gx
        import great_expectations.expectations
    if warnings.showwarning is not shows:
        logging.captureWarnings(capture=False)  # the library turns everybody's warnings into lines of the log
    return gx


def _context() -> Any:
    context = library().get_context(mode="ephemeral")
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context.enable_analytics(enable=False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context
