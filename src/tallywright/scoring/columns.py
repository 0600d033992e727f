"""The columns of a scored row: key, `score_date`, outputs, provenance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterable

PARTITION: Final = "score_date"
PROVENANCE: Final = pa.schema(
    [("model_name", pa.string()), ("model_version", pa.int64()), ("role", pa.string()), ("input_version", pa.int64())]
)


def scores_schema(keys: Iterable[pa.Field], outputs: pa.Schema) -> pa.Schema:
    """Key columns, `score_date`, outputs, provenance: the columns of a scored row, in this order."""
    return pa.schema([*keys, pa.field(PARTITION, pa.date32()), *outputs, *PROVENANCE]).remove_metadata()
