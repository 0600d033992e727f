"""The rows of a day as the library is shown them: frames of pandas whose columns have the types of the spec.

A null turns no whole number into a fraction and no truth value into an object. Where the library cannot judge pandas'
own nullable columns, or Python's decimals, an expectation is shown its columns in another view of the same values.
"""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal

import pyarrow as pa

from tallywright.gates.expectations.values import family_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import pandas as pd

    from tallywright.gates.expectations.kinds import ExpectationKind
    from tallywright.gates.expectations.values import Columns

View = Literal["typed", "floats", "midnights", "objects"]
"""`typed`: the types of the spec; `floats`: numbers as doubles; `midnights`: dates as instants; `objects`: Python's own
values, None for a null."""

_ELEMENTWISE: Final = frozenset(
    {
        "expect_column_pair_values_to_be_equal",
        "expect_column_pair_values_a_to_be_greater_than_b",
        "expect_column_pair_values_to_be_in_set",
        "expect_multicolumn_values_to_be_equal",
    }
)
"""What the library compares value by value, where a null of pandas' own is neither true nor false."""
_IN_BINS: Final = "expect_column_kl_divergence_to_be_less_than"
_AS_DOUBLES: Final = frozenset(
    {
        "expect_multicolumn_sum_to_equal",
        "expect_column_value_z_scores_to_be_less_than",
        "expect_column_values_to_not_be_outliers",
    }
)
_ENDS: Final = frozenset({"expect_column_min_to_be_between", "expect_column_max_to_be_between"})
_EXACT: Final = frozenset({"distinct", "common", "type", "exists", "columns"})
"""Shapes that compare values for equality."""


def view_of(name: str, kind: ExpectationKind, values: Mapping[str, Any], columns: Columns) -> View:
    """The view that an expectation is shown, by its kind and the types of its columns."""
    families = {family_of(found) for column in named_columns(values) if (found := columns.get(column)) is not None}
    if name in _ELEMENTWISE and families - {"text", "float"}:
        return "objects"
    if kind.shape == "common" and families == {"instant"}:
        return "objects"
    if name in _AS_DOUBLES and families != {"float"}:
        return "floats"
    if name in _ENDS and families == {"date"}:
        return "midnights"
    if name == _IN_BINS and "bins" in values.get("partition_object", {}) and "integer" in families:
        return "floats"
    return "floats" if "decimal" in families and _computes(kind) else "typed"


def _computes(kind: ExpectationKind) -> bool:
    """True for what calculates with the values of a column, or compares them with bounds."""
    forms = {form.rstrip("!") for form in kind.forms.values()}
    return kind.shape not in _EXACT and bool(forms & {"bound", "number", "positive", "quantiles", "partition"})


def for_view(values: Mapping[str, Any], view: View) -> dict[str, Any]:
    """The arguments of an expectation in the types of its view."""
    if view == "midnights":
        return {name: _midnight(value) for name, value in values.items()}
    return {name: _as_floats(value) for name, value in values.items()} if view == "floats" else dict(values)


def _midnight(value: Any) -> Any:
    return datetime.combine(value, time()) if isinstance(value, date) else value


def _as_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_floats(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_as_floats(part) for part in value]
    return float(value) if isinstance(value, Decimal) else value


def named_columns(values: Mapping[str, Any]) -> list[str]:
    """The columns that an expectation is about; a list that the table is compared with is none."""
    single = [values[key] for key in ("column", "column_A", "column_B") if key in values]
    return [*single, *values.get("column_list", ())]


def frame(table: pa.Table, view: View, names: Collection[str]) -> pd.DataFrame:
    """A view of a table's rows; those other than `typed` have the named columns only."""
    if view == "typed":
        return _typed(table)
    import pandas as pd

    shown = [name for name in table.column_names if name in names]
    convert = {"floats": _doubles, "midnights": _midnights, "objects": _objects}[view]
    # The index stands for the rows where none of the columns is there.
    return pd.DataFrame({name: convert(table[name]) for name in shown}, index=pd.RangeIndex(table.num_rows))


def _typed(table: pa.Table) -> pd.DataFrame:
    found = table.to_pandas(ignore_metadata=True)  # whoever wrote it, the index is the place of a row
    for field in table.schema:
        if table[field.name].null_count and (pa.types.is_integer(field.type) or pa.types.is_boolean(field.type)):
            found[field.name] = table[field.name].to_pandas(types_mapper=_nullable)
    return found


def _nullable(kind: pa.DataType) -> Any:
    import pandas as pd

    if pa.types.is_boolean(kind):
        return pd.BooleanDtype()
    return {8: pd.Int8Dtype, 16: pd.Int16Dtype, 32: pd.Int32Dtype, 64: pd.Int64Dtype}[kind.bit_width]()


def _doubles(column: pa.ChunkedArray) -> Any:
    return column.cast(pa.float64(), safe=False).to_numpy()  # a whole number of 64 bits is rounded


def _midnights(column: pa.ChunkedArray) -> Any:
    return column.cast(pa.timestamp("us")).to_numpy()


def _objects(column: pa.ChunkedArray) -> Any:
    import pandas as pd

    return column.to_numpy() if pa.types.is_floating(column.type) else pd.Series(_plain(column), dtype=object)


def _plain(column: pa.ChunkedArray) -> Sequence[Any]:
    return column.to_pylist()  # type: ignore[no-any-return] # pyarrow is not typed
