"""The home of Great Expectations: its objects for a suite, and batches of rows, without project folders or a network.

The library is imported inside the functions, because the import alone takes seconds.
"""

from __future__ import annotations

import gc
import os
import warnings
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from tallywright.errors import SpecError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd

    from tallywright.gates.suite import Expected, Suite


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
    with warnings.catch_warnings(), _nothing_collected():
        warnings.simplefilter("ignore")  # the library imports a deprecated module of the standard library
        import great_expectations as gx
        import great_expectations.expectations
    return gx


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Keeps the garbage collector off an import: what that makes stays, and looking through it costs an eighth."""
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collected:
            gc.enable()


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
