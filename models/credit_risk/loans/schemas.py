"""The columns of the raw files, in their order."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

APPLICATIONS: Final = pa.schema(
    {
        "application_id": pa.string(),
        "applied_at": pa.timestamp("s"),
        "channel": pa.string(),
        "region": pa.string(),
        "customer": pa.string(),
        "employment": pa.string(),
        "years_employed": pa.float64(),
        "income": pa.float64(),
        "purpose": pa.string(),
        "amount": pa.float64(),
        "term_months": pa.int64(),
        "obligations": pa.float64(),
        "history_months": pa.int64(),
        "utilisation": pa.float64(),
        "delinquencies_24m": pa.int64(),
        "inquiries_6m": pa.int64(),
    }
)
REPAYMENTS: Final = pa.schema(
    {"application_id": pa.string(), "reported_at": pa.timestamp("s"), "status": pa.string(), "missed": pa.int64()}
)


def table_of(columns: dict[str, object], schema: pa.Schema) -> pa.Table:
    """NumPy arrays as a table; a NaN is a null."""
    return pa.Table.from_arrays(
        [pa.array(columns[field.name], field.type, from_pandas=True) for field in schema], schema=schema
    )
