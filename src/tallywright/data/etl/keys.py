"""Key checks: no null in a key column, no key twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tallywright.data.fingerprint import row_hashes
from tallywright.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXAMPLES: Final = 5


def require_unique(table: pa.Table, key: Sequence[str], where: str) -> None:
    """Refuses rows that share a key, or have none.

    Hashes find the suspects, an exact comparison of the suspects decides.

    Args:
        table: The rows of one date.
        key: The columns that together name a row.
        where: What the rows are, for the message: "flight_delays__features of 2013-03-01".

    Raises:
        InputError: Names up to five of the keys that occur more than once.
    """
    for name in key:
        nulls = table[name].null_count
        if nulls:
            raise InputError(
                f"{where}: {nulls} of {table.num_rows} rows have no {name}, which is part of the key",
                expected="a key without nulls",
                remedy="reject such rows in the contract SQL",
            )
    repeated = _repeated(table, key)
    if repeated.num_rows:
        examples = [
            ", ".join(f"{name}={row[name]}" for name in key) for row in repeated.slice(0, _EXAMPLES).to_pylist()
        ]
        raise InputError(
            f"{where}: {repeated.num_rows} keys occur more than once, such as {'; '.join(examples)}",
            expected=f"each ({', '.join(key)}) once a date",
            remedy="reject the duplicates in the contract SQL, or extend data.key",
        )


def _repeated(table: pa.Table, key: Sequence[str]) -> pa.Table:
    """The keys that occur more than once, each once, sorted."""
    hashes = row_hashes(table, key)
    ordered = np.sort(hashes)
    suspects = ordered[1:][ordered[1:] == ordered[:-1]]
    columns = list(dict.fromkeys(key))
    if not len(suspects):
        return table.select(columns).slice(0, 0)
    rows = table.select(columns).filter(pa.array(np.isin(hashes, suspects)))
    kinds = [kind.value_type if pa.types.is_dictionary(kind) else kind for kind in rows.schema.types]
    rows = rows.cast(pa.schema(zip(columns, kinds, strict=True)))
    counted = rows.group_by(columns).aggregate([([], "count_all")])
    repeated = counted.filter(pc.greater(counted["count_all"], 1)).select(columns)
    return repeated.sort_by([(name, "ascending") for name in columns])
