"""The verdicts on what the fresh process observed: a check for each line of the checklist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tallywright.gates.operations.contract import ACCEPTS, INFINITIES, NOT_FINITE, ODD_VALUES, REFUSES
from tallywright.gates.operations.latency import CALLS, PERCENTILES, percentile
from tallywright.gates.operations.probe import LOG_LINE
from tallywright.packaging.embedded import PARITY_BOUND
from tallywright.records import Check, Verdict
from tallywright.tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tallywright.gates.operations.process import Observations
    from tallywright.packaging.package import Package
    from tallywright.spec.sections import Gates, LatencyBounds

_EXAMPLES: Final = 5
_CONTRACT: Final = {
    ACCEPTS: "a batch of the schema in any order and encoding, columns that are not its own ignored",
    REFUSES: "each column that is missing, there twice or of another type refused",
    ODD_VALUES: "a score for nulls, unseen categories and infinities",
}


def run_checks(candidate: Package, answer: Observations, gates: Gates) -> Iterator[Check]:
    """Yields a check for everything that was to be observed; what could not be observed fails."""
    observed, errors = answer.observed, answer.observed["errors"]
    yield from _confined(observed)
    if "sample" in errors:
        yield _unobserved("scores_sample", "the sample stored in the package is scored", errors["sample"])
    else:
        yield from _sample(observed["sample"], candidate)
    for name, bound in _CONTRACT.items():
        if "contract" in errors:
            yield _unobserved(name, bound, errors["contract"])
        else:
            yield _contract(name, bound, [case for case in observed["contract"] if case["check"] == name])
    if "latency" in errors:
        yield _unobserved("latency_ms_per_1000", f"<= {gates.max_latency_ms_per_1000:g}", errors["latency"])
    else:
        yield from _latency(observed["latency"], gates)
    yield Check.of(
        "peak_memory_mb",
        observed["peak_megabytes"] <= gates.max_memory_mb,
        observed["peak_megabytes"],
        f"<= {gates.max_memory_mb:g}",
        "of the whole process, which scored 100,000 rows at once",
    )
    yield from _observability(candidate, answer)


def _unobserved(name: str, bound: str, error: str) -> Check:
    return Check.of(name, False, None, bound, error)


def _confined(observed: dict[str, Any]) -> Iterator[Check]:
    yield Check.of("pickle_off", observed["pickle_off"], None, "a pickle that names a class is not loaded", "tried")
    yield Check.of("network_off", observed["network_off"], None, "no connection can be opened", observed["network"])
    foreign = observed["foreign"]
    yield Check.of(
        "slim_imports",
        not foreign,
        ", ".join(foreign) or "none",
        "no training or orchestration library among the recorded dependencies",
        "what can be imported where these alone are installed",
    )


def _sample(found: dict[str, Any], candidate: Package) -> Iterator[Check]:
    rows, parity = found["rows"], found["parity"]
    yield Check.of("parity_rows", rows > 0, rows, "at least one row", "the sample stored in the package")
    yield Check.of(
        "parity_with_training",
        parity is not None and parity <= PARITY_BOUND,
        parity,
        f"<= {PARITY_BOUND:g}",
        "the same bits as at training"
        if found["bitwise"]
        else "largest difference from a score of training, relative to the largest score where that is above 1",
    )
    yield Check.of("scores_finite", found["finite"], None, "no NaN, no infinity", f"{rows} rows")
    yield Check.of("schema_accepted", found["schema"], None, "the output schema of the package", "")
    classes = candidate.postprocess.classes
    width = len(classes) if TASKS[candidate.postprocess.task].per_class else 1
    yield Check.of("classes", found["width"] == width, found["width"], f"{width} a row", ", ".join(classes))
    yield Check.of(
        "independent_of_the_batch",
        found["batch_free"],
        None,
        "the same bits, whole or in pieces",
        f"{rows} rows at once, and one row plus the rest",
    )


def _contract(name: str, bound: str, cases: Sequence[dict[str, str]]) -> Check:
    """Passes when every batch had its outcome; a score that is not finite where an odd value stands is a warning."""
    odd = [case for case in cases if case["found"] != case["expected"]]
    tolerated = name == ODD_VALUES and all(
        case["found"].startswith(NOT_FINITE) or case["what"].endswith(INFINITIES) for case in odd
    )
    named = "; ".join(f"{case['what']}: {case['found']}, not {case['expected']}" for case in odd[:_EXAMPLES])
    return Check(
        name=name,
        verdict=Verdict.PASS if not odd else Verdict.WARN if tolerated else Verdict.FAIL,
        observed=f"{len(cases) - len(odd)} of {len(cases)} batches",
        bound=bound,
        evidence=named,
    )


def _latency(times: dict[str, list[float]], gates: Gates) -> Iterator[Check]:
    limit, median = gates.max_latency_ms_per_1000, percentile(times["1000"], 50)
    yield Check.of("latency_ms_per_1000", median <= limit, median, f"<= {limit:g}", "median of 1,000 rows on one core")
    for rows in CALLS:
        yield _percentiles(rows, times[str(rows)], gates.max_latency_ms)


def _percentiles(rows: int, times: Sequence[float], bounds: LatencyBounds) -> Check:
    given = getattr(bounds, f"rows_{rows}")
    measured = {percent: percentile(times, percent) for percent in PERCENTILES}
    limits = {percent: getattr(given, f"p{percent}") for percent in PERCENTILES}
    named = {percent: limit for percent, limit in limits.items() if limit is not None}
    shown = ", ".join(f"p{percent} {value:.3g}" for percent, value in measured.items())
    return Check.of(
        f"latency_ms_{rows}",
        all(measured[percent] <= limit for percent, limit in named.items()),
        f"{shown} ({len(times)} calls)",
        ", ".join(f"p{percent} <= {limit:g}" for percent, limit in named.items()) or "none in gates.max_latency_ms",
        f"calls with {rows:,} row{'s' * (rows > 1)}, on one core",
    )


def _observability(candidate: Package, answer: Observations) -> Iterator[Check]:
    line = LOG_LINE.partition("{")[0]
    logged = [text for text in answer.log.splitlines() if line in text and candidate.digest in text]
    yield Check.of("logs_seen", len(logged) == 1, len(logged), "one line about the scored sample, on stderr", "")
    errors, found = answer.observed["errors"], answer.observed.get("counters")
    bound = "every column and row counted, by the definition of the reference profile"
    if found is None:
        yield _unobserved("counters_seen", bound, errors["counters"])
        return
    columns = len(candidate.definition.numeric) + len(candidate.definition.categorical)
    expected = (found["scored"], columns, True)
    counted = (found["rows"], found["columns"], found["comparable"]) == expected
    shown = f"{found['rows']} rows, {found['columns']} columns"
    yield Check.of("counters_seen", counted, shown, bound, "what drift and the retraining policy read")
