"""The splits of a snapshot as the arrays that networks and baselines read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tallywright.errors import InputError
from tallywright.labels import is_text
from tallywright.packaging.preprocess import Preprocess, fit_preprocess
from tallywright.training.loop import Rows

if TYPE_CHECKING:
    import pyarrow as pa

    from tallywright.spec.sections import Training


@dataclass(frozen=True, slots=True)
class Split:
    """One split: the table as read, and its matrices with the targets as they are in the data."""

    table: pa.Table
    rows: Rows


@dataclass(frozen=True, slots=True)
class Splits:
    """The three splits and the preprocessing that was learnt from the first."""

    preprocess: Preprocess
    train: Split
    validation: Split
    holdout: Split

    @property
    def codes(self) -> tuple[int, ...]:
        """Number of codes of each categorical column: its categories, null and unseen."""
        return tuple(len(category.categories) + 2 for category in self.preprocess.categorical)

    @property
    def window(self) -> Rows:
        """Training and validation rows together: the reference of later days."""
        parts = (self.train.rows, self.validation.rows)
        return Rows(
            np.concatenate([part.numeric for part in parts]),
            np.concatenate([part.categorical for part in parts]),
            np.concatenate([part.target for part in parts]),
        )


def make_splits(spec: Training, train: pa.Table, validation: pa.Table, holdout: pa.Table) -> Splits:
    """Learns the preprocessing from the training table and applies it to all three.

    Raises:
        InputError: A split without rows, a target that is missing or null, an unusable column.
    """
    for name, table in (("training", train), ("validation", validation), ("holdout", holdout)):
        if not table.num_rows:
            raise InputError(
                f"the {name} split has no rows with known labels",
                expected="labelled rows in each of the three windows",
                remedy="ingest the missing days (`tally run … ingest`), or choose a later training date",
            )
    preprocess = fit_preprocess(train, spec.numeric, spec.categorical, spec.min_category_rows)
    return Splits(preprocess, *(_split(preprocess, spec, table) for table in (train, validation, holdout)))


def _split(preprocess: Preprocess, spec: Training, table: pa.Table) -> Split:
    target = table.column(spec.target) if spec.target in table.column_names else None
    if target is None or target.null_count:
        raise InputError(
            f"the target {spec.target!r} is {'missing' if target is None else 'null in some rows'}",
            expected="a label in each row of a split",
            remedy="check training.target and the label SQL",
        )
    (batch,) = table.combine_chunks().to_batches()
    inputs = preprocess.transform(batch)
    values = target.combine_chunks().to_numpy(zero_copy_only=False)
    if is_text(target.type):
        values = values.astype(np.str_)
    # Column by column is how Arrow fills them; a network reads rows.
    return Split(table, Rows(np.ascontiguousarray(inputs.numeric), np.ascontiguousarray(inputs.categorical), values))
