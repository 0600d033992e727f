"""What was found by an expectation, in plain numbers and texts: the check, what was expected in words, and examples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from tallywright.gates.expectations.frames import named_columns
from tallywright.gates.expectations.values import shown
from tallywright.records import Check, Verdict
from tallywright.redaction import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tallywright.gates.expectations.kinds import ExpectationKind
    from tallywright.gates.expectations.plan import ExpectationOutcome

FAILED_VERDICTS: Final = {"critical": Verdict.FAIL, "warning": Verdict.WARN, "info": Verdict.NOTE}
UNEVALUATED: Final = "could not be evaluated"
"""Begins the evidence of a check that says nothing about the day."""
NO_VALUE: Final = "no value"
_MOST_EXAMPLES: Final = 5
_MOST_UNEXPECTED: Final = 100
"""Among so many unexpected rows different values are looked for."""
_MOST_NAMES: Final = 20
_LONGEST: Final = 300


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """A check with what a page shows besides it.

    Attributes:
        check: What is recorded.
        expected: What was expected, in words.
        examples: Some of the rows that are unexpected: the key and the columns that the expectation is about.
    """

    check: Check
    expected: str
    examples: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """An expectation of a suite, as it was judged on the rows that it is about.

    Attributes:
        name: The kind and the columns.
        expect: The name of the kind.
        kind: What is known of the kind.
        values: The arguments, by the types of the columns.
        severity: How much it matters.
        bound: The arguments as in the file.
        notes: The suite's own words.
        condition: The condition on the rows; empty for all.
    """

    name: str
    expect: str
    kind: ExpectationKind
    values: Mapping[str, Any]
    severity: str
    bound: str
    notes: str
    condition: str


def finding(
    judged: Judged, outcome: ExpectationOutcome, rows: pa.Table, whole: int, key: Sequence[str]
) -> CheckFinding:
    """The finding of an expectation.

    Args:
        judged: The expectation.
        outcome: What the library said.
        rows: The rows that it was asked about.
        whole: How many rows the day has.
        key: The columns that name a row.
    """
    observed, details, examples = _observed(judged, outcome, rows, key)
    failure = Verdict.FAIL if outcome.error else FAILED_VERDICTS[judged.severity]
    evidence = [] if outcome.success else [f"severity {judged.severity}"]
    if outcome.error:
        evidence.append(f"{UNEVALUATED}: {shown_line(outcome.error)}")
    if not outcome.success and details:
        evidence.append(details)
    if judged.condition:
        evidence.append(f"{rows.num_rows:,} of {whole:,} rows meet the condition")
    if judged.notes:
        evidence.append(visible(judged.notes))
    check = Check(
        name=judged.name,
        verdict=Verdict.PASS if outcome.success else failure,
        observed=observed,
        bound=judged.bound,
        evidence="; ".join(evidence),
    )
    return CheckFinding(check, expected_words(judged), () if outcome.success else examples)


def shown_line(text: str) -> str:
    """A text of the library's as one line of bounded length."""
    line = visible(" ".join(text.split()))
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


Observed = tuple[float | str | None, str, tuple[Mapping[str, str], ...]]
"""What was observed, its details in words, and examples of rows."""


def _observed(judged: Judged, outcome: ExpectationOutcome, rows: pa.Table, key: Sequence[str]) -> Observed:
    if outcome.error:
        return None, "", ()
    if judged.kind.shape == "rows":
        return _rows(judged, outcome.unexpected, rows, key)
    if judged.kind.shape in ("distinct", "common"):
        return _values(judged, rows, success=outcome.success)
    if judged.kind.shape == "divergence":
        return _divergence(outcome.result)
    return _figure(judged, outcome.result.get("observed_value"), rows.schema), "", ()


def _figure(judged: Judged, value: Any, schema: pa.Schema) -> float | str:
    if judged.kind.shape == "columns":
        return _columns(judged, schema.names)
    if judged.kind.shape == "exists":
        return _place(judged, schema.names)
    if judged.kind.shape == "quantiles":
        return _quantiles(value)
    plain = _plain(value)
    if plain is None:
        return NO_VALUE
    is_midnight = isinstance(value, datetime) and pa.types.is_date(schema.field(judged.values["column"]).type)
    return shown(value.date()) if is_midnight else plain


def _divergence(result: Mapping[str, Any]) -> Observed:
    plain = _plain(result.get("observed_value"))
    if plain is not None or "details" not in result:
        return NO_VALUE if plain is None else plain, "", ()
    return "infinite", _never_expected(result["details"]), ()


def _plain(value: Any) -> float | str | None:
    """A number or a text of Python's own; None for no value."""
    if value is not None and hasattr(value, "item"):
        value = value.item()
    if value is None or value != value:  # noqa: PLR0124 - NaN and NaT differ from themselves
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return shown(value)
    number = float(value)
    return number if math.isfinite(number) and number == value else shown(value)


def _rows(judged: Judged, mask: Any, rows: pa.Table, key: Sequence[str]) -> Observed:
    if mask is None or not len(mask):
        return f"{NO_VALUE} to judge", "", ()
    places = mask.index[mask.to_numpy(dtype=bool, na_value=False)].to_numpy()
    share = f"{100 * len(places) / len(mask):.4g}% unexpected"
    if not len(places):
        return share, "", ()
    about = list(dict.fromkeys(named_columns(judged.values)))
    examples = _examples(rows.take(places[:_MOST_UNEXPECTED]), about, key)
    such = (", " if len(about) == 1 else "; ").join(_example(one, about) for one in examples)
    return share, _shortened(f"{len(places)} of {rows.num_rows} rows, such as {such}"), tuple(examples)


def _examples(unexpected: pa.Table, about: Sequence[str], key: Sequence[str]) -> list[dict[str, str]]:
    """Some rows with different values; each has its key and the columns that the expectation is about."""
    names = [*about, *(name for name in key if name in unexpected.column_names and name not in about)]
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for number in range(unexpected.num_rows):
        row = {name: shown(_value(unexpected[name][number])) for name in names}
        found.setdefault(tuple(row[name] for name in about), row)
        if len(found) == _MOST_EXAMPLES:
            break
    return list(found.values())


def _value(cell: Any) -> Any:
    """A cell as a value of Python's; one of four bytes with the digits that it has."""
    if cell.type == pa.float32() and cell.is_valid:
        import numpy as np

        return np.float32(cell.as_py())
    return cell.as_py()


def _example(row: Mapping[str, str], about: Sequence[str]) -> str:
    """An example in words: the value alone where there is one, else each with its column; the key in brackets."""
    values = row[about[0]] if len(about) == 1 else ", ".join(f"{name} {row[name]}" for name in about)
    key = ", ".join(f"{name} {value}" for name, value in row.items() if name not in about)
    return f"{values} ({key})" if key else values


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _values(judged: Judged, rows: pa.Table, *, success: bool) -> Observed:
    """The distinct values of a column against those that are expected, the most frequent first."""
    counts = _counts(rows[judged.values["column"]])
    if judged.kind.shape == "common":
        most = counts.filter(pc.equal(counts["counts"], pc.max(counts["counts"])))
        more = f" and {most.num_rows - _MOST_NAMES:,} more" if most.num_rows > _MOST_NAMES else ""
        return (_listed(value for value, _ in _frequent(most.slice(0, _MOST_NAMES))) or NO_VALUE) + more, "", ()
    if success:
        return f"{counts.num_rows:,} values, as expected" if counts.num_rows else NO_VALUE, "", ()
    found, wanted = [value for value, _ in _frequent(counts)], judged.values["value_set"]
    missing = [] if "be_in_set" in judged.expect else _without(wanted, found)
    above = [] if "contain_set" in judged.expect else _without(found, wanted)
    parts = [f"missing: {_listed(missing)}"] if missing else []
    if above:
        parts.append(f"not in the set: {_listed(above)}" if "equal_set" in judged.expect else _listed(above))
    details = f"{len(above)} unexpected values, such as {_listed(above[:_MOST_EXAMPLES])}" if above else ""
    return "; ".join(parts) or NO_VALUE, details, ()


def _counts(column: pa.ChunkedArray) -> pa.Table:
    """The values of a column with their counts; nulls and NaN are none."""
    values = column.drop_null()
    if pa.types.is_floating(values.type):
        values = values.filter(pc.invert(pc.is_nan(values)))
    return pa.Table.from_struct_array(pc.value_counts(values))


def _frequent(counts: pa.Table) -> list[tuple[Any, int]]:
    pairs = [(_value(value), count.as_py()) for value, count in zip(counts["values"], counts["counts"], strict=True)]
    return sorted(pairs, key=lambda pair: (-pair[1], shown(pair[0])))


def _without(values: Iterable[Any], others: Iterable[Any]) -> list[Any]:
    known = set(others)
    return [value for value in values if value not in known]


def _listed(values: Iterable[Any]) -> str:
    texts = [shown(value) for value in values]
    more = f" and {len(texts) - _MOST_NAMES:,} more" if len(texts) > _MOST_NAMES else ""
    return _shortened(", ".join(texts[:_MOST_NAMES])) + more


def _columns(judged: Judged, names: Sequence[str]) -> str:
    wanted = judged.values.get("column_set", judged.values.get("column_list", []))
    missing = [name for name in wanted if name not in names]
    above = [name for name in names if name not in wanted]
    parts = [f"missing: {_listed(missing)}"] if missing else []
    parts += [f"not expected: {_listed(above)}"] if above and judged.values.get("exact_match", True) else []
    if not parts and "column_list" in judged.values and list(wanted) != list(names):
        parts.append(f"in another order: {_listed(names)}")
    return "; ".join(parts) or "all there"


def _place(judged: Judged, names: Sequence[str]) -> str:
    column = judged.values["column"]
    return f"column {names.index(column)}" if column in names else "no such column"


def _quantiles(observed: Any) -> str:
    if not observed or len(observed["quantiles"]) != len(observed["values"]):
        return NO_VALUE
    pairs = zip(observed["quantiles"], observed["values"], strict=True)
    return ", ".join(f"{share:g}: {_short(value)}" for share, value in pairs)


def _short(value: Any) -> str:
    plain = _plain(value)
    return f"{plain:.4g}" if isinstance(plain, float) else plain or NO_VALUE


def _never_expected(details: Mapping[str, Any]) -> str:
    """What was observed although nothing of it was expected, which makes a divergence infinite."""
    seen, wanted = details.get("observed_partition", {}), details.get("expected_partition", {})
    names = [shown(value) for value in seen.get("values", [])] or [
        f"bin {shown(value)}" for value in seen.get("bins", [])
    ]
    pairs = zip(names, seen.get("weights", []), wanted.get("weights", []), strict=False)
    found = [name for name, weight, expected in pairs if weight and not expected]
    tails = zip(("below", "above"), seen.get("tail_weights", []), wanted.get("tail_weights", []), strict=False)
    found += [f"values {side} the bins" for side, weight, expected in tails if weight and not expected]
    return f"not expected at all: {_listed(found)}" if found else ""


def expected_words(judged: Judged) -> str:
    """What an expectation asks for, in words; the arguments as in the file where there are no better ones."""
    values = dict(judged.values)
    low, high = values.pop("min_value", None), values.pop("max_value", None)
    strict = (values.pop("strict_min", False), values.pop("strict_max", False))
    mostly = values.pop("mostly", 1)
    parts = [_between(low, high, *strict)] if low is not None or high is not None else []
    for key in ("column", "column_A", "column_B", *(("column_list",) if judged.kind.subject == "list" else ())):
        values.pop(key, None)
    if "value_set" in values:
        parts.append(f"{'none' if 'not_be_in' in judged.expect else 'one'} of {_listed(values.pop('value_set'))}"
                     if judged.kind.shape == "rows" else f"the values {_listed(values.pop('value_set'))}")  # fmt: skip
    parts += [f"{key.rstrip('_').replace('_', ' ')} {_argument(value)}" for key, value in values.items()]
    if mostly != 1:
        parts.append(f"in at least {100 * mostly:g} % of the rows")
    if judged.condition:
        parts.append(f"where {visible(judged.condition)}")
    return "; ".join(parts) or judged.expect.removeprefix("expect_").replace("_", " ")


def _between(low: Any, high: Any, above: object, below: object) -> str:
    if high is None:
        return f"{'more than' if above else 'at least'} {shown(low)}"
    if low is None:
        return f"{'less than' if below else 'at most'} {shown(high)}"
    ends = [f"not {shown(low)} itself"] * bool(above) + [f"not {shown(high)} itself"] * bool(below)
    return f"from {shown(low)} to {shown(high)}" + (f", {' and '.join(ends)}" if ends else "")


def _argument(value: Any) -> str:
    """An argument in words; what is nested stands in brackets."""
    if isinstance(value, dict):
        return "; ".join(f"{key} {_argument(part)}" for key, part in value.items())
    if not isinstance(value, list | tuple):
        return shown(value)
    texts = [f"({_argument(one)})" if isinstance(one, dict | list | tuple) else shown(one) for one in value]
    return _shortened(", ".join(texts))
