"""What a package accepts and refuses, tried on batches: each has its one documented outcome.

| a batch | outcome |
|---|---|
| of the input schema | a finite score a row, in the output schema |
| its columns in another order, more columns, texts dictionary-encoded | the same scores, to the bit |
| a column missing, there twice, or of another type | refused (`InputError`), naming the column |
| nulls, categories that training has not seen, infinities: in each column alone, in all at once | a score a row |

A score that is not finite breaks no contract of the package, since the output gate stops such a row; it is a warning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tallywright.errors import InputError, TallyError
from tallywright.gates.operations.samples import of_schema, unseen_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tallywright.packaging.package import Package

    Score = Callable[[pa.RecordBatch], pa.RecordBatch]

Outcome = Literal["scored", "the same scores", "refused"]
ACCEPTS: Final = "schema_accepts"
REFUSES: Final = "schema_refuses"
ODD_VALUES: Final = "schema_odd_values"
NOT_FINITE: Final = "scored, not finite"
INFINITIES: Final = "infinities"


@dataclass(frozen=True, slots=True)
class Case:
    """One batch, the outcome that it must have, and the check that it belongs to."""

    check: str
    what: str
    expected: Outcome
    batch: pa.RecordBatch
    columns: tuple[str, ...] = ()
    """The columns that it is about."""


def tried(package: Package, score: Score) -> list[dict[str, str]]:
    """Every case with its outcome, as JSON; `score` is the package's Predictor."""
    plain = score(of_schema(package))
    return [
        {"check": case.check, "what": case.what, "expected": case.expected, "found": _outcome(case, score, plain)}
        for case in cases(package)
    ]


def cases(package: Package) -> Iterator[Case]:
    """Yields the cases for the columns of a package."""
    batch = of_schema(package)
    yield from _accepted(batch)
    yield from _refused(batch)
    yield from _odd(package, batch)


def _accepted(batch: pa.RecordBatch) -> Iterator[Case]:
    names = batch.schema.names
    yield Case(ACCEPTS, "of the schema", "scored", batch)
    yield Case(ACCEPTS, "columns in another order", "the same scores", batch.select(names[::-1]))
    yield Case(ACCEPTS, "a column more", "the same scores", batch.append_column("?" + "".join(names), batch.column(0)))
    encoded = [column.dictionary_encode() if pa.types.is_string(column.type) else column for column in batch.columns]
    yield Case(ACCEPTS, "texts dictionary-encoded", "the same scores", pa.RecordBatch.from_arrays(encoded, names=names))


def _refused(batch: pa.RecordBatch) -> Iterator[Case]:
    names = batch.schema.names
    # A point in time is neither a number nor a category.
    stamps = pa.nulls(batch.num_rows, pa.timestamp("us"))
    for place, name in enumerate(names):
        others = [one for one in names if one != name]
        yield Case(REFUSES, f"no column {name}", "refused", batch.select(others), (name,))
        yield Case(REFUSES, f"{name} of another type", "refused", batch.set_column(place, name, stamps), (name,))
    twice = batch.append_column(names[0], batch.column(0))
    yield Case(REFUSES, f"{names[0]} twice", "refused", twice, (names[0],))


def _odd(package: Package, batch: pa.RecordBatch) -> Iterator[Case]:
    known, schema = package.preprocess.categories, batch.schema
    texts = [name for name in known if pa.types.is_string(schema.field(name).type)]
    floats = [name for name in package.preprocess.numeric if pa.types.is_floating(schema.field(name).type)]
    values: dict[str, dict[str, Any]] = {
        "nulls": dict.fromkeys(schema.names),
        "unseen categories": {name: unseen_text(known[name]) for name in texts},
        f"positive {INFINITIES}": dict.fromkeys(floats, np.inf),
        f"negative {INFINITIES}": dict.fromkeys(floats, -np.inf),
    }
    for what, odd in values.items():
        if odd:
            yield Case(ODD_VALUES, what, "scored", _with_odd(batch, odd), tuple(odd))


def _with_odd(batch: pa.RecordBatch, odd: Mapping[str, Any]) -> pa.RecordBatch:
    """Rows in turn with one column's odd value, the next column's, …, and those of all of them."""
    turns = len(odd) + 1
    rows = np.arange(max(batch.num_rows, 2 * turns))
    made = batch.take(pa.array(rows % batch.num_rows))
    for place, (name, value) in enumerate(odd.items()):
        index = made.schema.get_field_index(name)
        chosen = pa.array((rows % turns == place) | (rows % turns == turns - 1))
        column = pc.if_else(chosen, pa.scalar(value, made.schema.field(name).type), made.column(index))
        made = made.set_column(index, name, column)
    return made


def _outcome(case: Case, score: Score, plain: pa.RecordBatch) -> str:
    """What became of the batch, in the words of `Outcome` where it is one of them."""
    try:
        outputs = score(case.batch)
    except InputError as error:
        named = case.expected != "refused" or all(repr(name) in error.found for name in case.columns)
        return "refused" if named else f"refused without its name: {error.found[:200]}"
    except TallyError as error:
        return f"{type(error).__name__}: {error.found[:200]}"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is not the documented outcome
        return f"{type(error).__name__}: {str(error)[:200]}"
    if case.expected == "the same scores":
        return "the same scores" if outputs.equals(plain) else "other scores"
    if outputs.num_rows != case.batch.num_rows or not outputs.schema.equals(plain.schema):
        return f"{outputs.num_rows} rows of {outputs.schema.names}"
    return "scored" if all_finite(outputs) else f"{NOT_FINITE}: {_whose(case, outputs)}"


def _whose(case: Case, outputs: pa.RecordBatch) -> str:
    """The columns whose odd value alone has no finite score; all of them where only the whole row has none."""
    turns = len(case.columns) + 1
    rows = [row for row in range(turns - 1) if not all_finite(outputs.slice(row, 1))]
    return ", ".join(case.columns[row] for row in rows) or "all columns together"


def all_finite(outputs: pa.RecordBatch) -> bool:
    """True when every number of the outputs is finite and no value is null."""
    return all(_finite(column) for column in outputs.columns)


def _finite(column: Any) -> bool:
    if pa.types.is_list(column.type):
        column = column.flatten()
    if column.null_count:
        return False
    return not pa.types.is_floating(column.type) or bool(np.isfinite(column.to_numpy(zero_copy_only=False)).all())
