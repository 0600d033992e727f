"""Rejected raw rows as the quarantine keeps them: the reason, and the whole row as one JSON text.

The text is made here from Arrow, for every SQL engine alike, because engines differ in how they write JSON.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from tallywright.data.embedded_sql import connect

_SCHEMA: Final = pa.schema([("score_date", pa.date32()), ("reason", pa.string()), ("raw_row", pa.string())])
_QUERY: Final = """
    SELECT score_date, reject_reason AS reason, CAST(to_json(raw) AS VARCHAR) AS raw_row FROM raw ORDER BY ALL
"""


def quarantine_rows(rejected: pa.Table) -> pa.Table:
    """Score date, reason and JSON text of rows that have a `reject_reason`, sorted.

    The JSON object has the columns of the contract query, in its order.
    """
    if not rejected.num_rows:
        return pa.Table.from_batches([], _SCHEMA)
    with connect() as connection:
        connection.register("raw", rejected)
        return connection.sql(_QUERY).to_arrow_table().cast(_SCHEMA)
