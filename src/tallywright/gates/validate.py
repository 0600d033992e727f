"""The home of Great Expectations: runs a suite over one day's rows, without project folders and without the network.

The library is imported inside the functions, because the import alone takes six seconds.
"""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import SpecError, did_you_mean
from tallywright.records import Check, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from tallywright.gates.suite import Expected, Suite

_EXAMPLES: Final = 5
_VERDICTS: Final = {"critical": Verdict.FAIL, "warning": Verdict.WARN, "info": Verdict.PASS}


@dataclass(frozen=True, slots=True)
class Validated:
    """What the suite found: one check per expectation in the order of the file, and the library's own result."""

    checks: tuple[Check, ...]
    result: Any


def validate(suite: Suite, rows: pd.DataFrame, file: Path) -> Validated:
    """Runs every expectation once without details, and those that failed once more for their examples.

    Raises:
        SpecError: An expectation that does not exist, or arguments it does not take, all problems at once.
    """
    with warnings.catch_warnings():
        # The library imports the deprecated sre_constants, and pandas warns of the dtypes it builds.
        warnings.simplefilter("ignore")
        built = build(suite, file)
        context = _context()
        asset = context.data_sources.add_pandas("day").add_dataframe_asset(suite.dataset)
        batch = asset.add_batch_definition_whole_dataframe("day").get_batch({"dataframe": rows})
        first = _run(batch, suite.dataset, built, "BOOLEAN_ONLY")
        failed = [index for index, result in enumerate(first) if not result.success]
        detailed = dict(zip(failed, _run(batch, suite.dataset, [built[i] for i in failed], "SUMMARY"), strict=True))
        results = [detailed.get(index, result) for index, result in enumerate(first)]
        checks = tuple(_check(e, r) for e, r in zip(suite.expectations, results, strict=True))
        return Validated(checks, _suite_result(suite, results, batch))


def build(suite: Suite, file: Path) -> list[Any]:
    """The library's objects for a suite's expectations.

    Raises:
        SpecError: As for `validate`.
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


def _library() -> Any:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library imports a deprecated module of the standard library
        import great_expectations as gx
        import great_expectations.expectations
    return gx


def _context() -> Any:
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = _library().get_context(mode="ephemeral")
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


def _run(batch: Any, name: str, expectations: Sequence[Any], result_format: str) -> list[Any]:
    """The results in the order of `expectations`; the library sorts them its own way, so each is run by its place."""
    if not expectations:
        return []
    gx = _library()
    suite = gx.ExpectationSuite(
        name=name,
        expectations=[item.copy(update={"id": None, "meta": {"place": i}}) for i, item in enumerate(expectations)],
    )
    settings = {"result_format": result_format, "partial_unexpected_count": _EXAMPLES}
    results = batch.validate(suite, result_format=settings if result_format == "SUMMARY" else result_format)
    by_place = {result.expectation_config.meta["place"]: result for result in results.results}
    return [by_place[place] for place in range(len(expectations))]


def _check(expected: Expected, result: Any) -> Check:
    error = _exception(result)
    # An expectation that could not even be evaluated is missing evidence, whatever its severity.
    failure = Verdict.FAIL if error else _VERDICTS[expected.severity]
    said = [f"severity {expected.severity}"] if not result.success else []
    said += [text for text in (error, _examples(result.result), expected.notes) if text]
    return Check(
        name=expected.name,
        verdict=Verdict.PASS if result.success else failure,
        observed=_observed(result.result),
        bound=expected.bound,
        evidence="; ".join(said),
    )


def _exception(result: Any) -> str:
    info = result.exception_info or {}
    infos = [info] if "raised_exception" in info else list(info.values())
    messages = {str(item.get("exception_message")) for item in infos if item.get("raised_exception")}
    return f"could not be evaluated: {'; '.join(sorted(messages))[:300]}" if messages else ""


def _observed(result: dict[str, Any]) -> float | str | None:
    value = result.get("observed_value", result.get("unexpected_percent"))
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)[:200]
    shown = "% unexpected" if "observed_value" not in result else ""
    number = float(value)
    return f"{number:.4g}{shown}" if shown or not math.isfinite(number) else number


def _examples(result: dict[str, Any]) -> str:
    if not result.get("unexpected_count"):
        return ""
    values = dict.fromkeys(str(value) for value in result.get("partial_unexpected_list", ()))
    return f"{result['unexpected_count']} of {result['element_count']} rows, such as {', '.join(values)}"[:300]


def _suite_result(suite: Suite, results: list[Any], batch: Any) -> Any:
    from great_expectations.core import ExpectationSuiteValidationResult

    good = sum(bool(result.success) for result in results)
    return ExpectationSuiteValidationResult(
        success=good == len(results),
        results=results,
        suite_name=suite.dataset,
        statistics={
            "evaluated_expectations": len(results),
            "successful_expectations": good,
            "unsuccessful_expectations": len(results) - good,
            "success_percent": 100 * good / len(results),
        },
        meta={"active_batch_definition": {"batch_id": batch.id}},
    )
