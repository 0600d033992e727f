"""What a suite says about one day's rows, as checks: the verdict by severity, what was observed, some examples."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from tallywright.gates.expectations import Frames, build
from tallywright.gates.plan import BOOLEAN_ONLY, Plan
from tallywright.records import Check, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from tallywright.gates.suite import Expected, Suite

_DETAILS: Final = {"result_format": "SUMMARY", "partial_unexpected_count": 5}
_VERDICTS: Final = {"critical": Verdict.FAIL, "warning": Verdict.WARN, "info": Verdict.PASS}


@dataclass(frozen=True, slots=True)
class Validated:
    """What the suite found: one check per expectation in the order of the file, and the library's own result."""

    checks: tuple[Check, ...]
    result: Any


class SuiteValidator:
    """A suite made ready at its first use, in one context of the library, for any number of days."""

    def __init__(self, suite: Suite, file: Path) -> None:
        self.suite = suite
        self._file = file
        self._plan: Plan | None = None

    def validate(self, rows: pd.DataFrame) -> Validated:
        """Runs every expectation once without details, and those that failed once more for their examples.

        Raises:
            SpecError: An expectation that does not exist, or arguments it does not take, all problems at once.
        """
        with warnings.catch_warnings():
            # The library imports the deprecated sre_constants, and pandas warns of the dtypes it builds.
            warnings.simplefilter("ignore")
            batch = self._frames.load(rows)
            if self._plan is None:
                self._plan = Plan(batch, self._expectations, BOOLEAN_ONLY)
            results = self._plan.run()
            failed = [index for index, result in enumerate(results) if not result.success]
            if failed:
                again = Plan(batch, [self._expectations[index] for index in failed], _DETAILS).run()
                detailed = dict(zip(failed, again, strict=True))
                results = [detailed.get(index, result) for index, result in enumerate(results)]
        checks = tuple(_check(e, r) for e, r in zip(self.suite.expectations, results, strict=True))
        return Validated(checks, _suite_result(self.suite, results, batch))

    @cached_property
    def _expectations(self) -> list[Any]:
        return build(self.suite, self._file)

    @cached_property
    def _frames(self) -> Frames:
        return Frames(self.suite.dataset)


def validate(suite: Suite, rows: pd.DataFrame, file: Path) -> Validated:
    """Judges one day by a suite that is needed once.

    Raises:
        SpecError: As for `SuiteValidator.validate`.
    """
    return SuiteValidator(suite, file).validate(rows)


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
    rows = f"of {result['element_count']} rows" if "element_count" in result else "unexpected values"
    return f"{result['unexpected_count']} {rows}, such as {', '.join(values)}"[:300]


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
