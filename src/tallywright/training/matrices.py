"""The splits of a snapshot as the arrays that estimators read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tallywright.errors import InputError
from tallywright.labels import is_text
from tallywright.packaging.preprocess import FIRST_CODE, ModelInput, Preprocess

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from tallywright.spec.sections import Training


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows as arrays: numeric float32 [N, F], category codes int64 [N, C], targets [N]."""

    numeric: np.ndarray
    categorical: np.ndarray
    target: np.ndarray

    def take(self, places: np.ndarray | slice) -> Rows:
        """Some of the rows, by their places."""
        return Rows(self.numeric[places], self.categorical[places], self.target[places])

    def inputs(self, most: int | None = None) -> ModelInput:
        """The inputs of the first rows, of all by default."""
        return ModelInput(self.numeric[:most], self.categorical[:most])


@dataclass(frozen=True, slots=True)
class Split:
    """One split: the table as read, and its matrices with the targets as they are in the data."""

    table: pa.Table
    rows: Rows


@dataclass(frozen=True, slots=True)
class Splits:
    """The splits of a snapshot, and the preprocessing that was learnt from the first.

    Args:
        preprocess: Columns and categories.
        train: Rows to learn from.
        validation: Rows for early stopping; None where the fit has seen all rows (a refit).
        holdout: Rows that the fit does not see; those of `train` once more where it has seen all.
    """

    preprocess: Preprocess
    train: Split
    validation: Split | None
    holdout: Split

    @property
    def codes(self) -> tuple[int, ...]:
        """Number of codes of each categorical column."""
        return codes_of(self.preprocess)

    @property
    def fitted(self) -> tuple[Split, ...]:
        """The splits that the fit has seen: the reference of later days."""
        return (self.train,) if self.validation is None else (self.train, self.validation)

    @property
    def window(self) -> Rows:
        """The rows of these splits together."""
        parts = [split.rows for split in self.fitted]
        return Rows(
            np.concatenate([part.numeric for part in parts]),
            np.concatenate([part.categorical for part in parts]),
            np.concatenate([part.target for part in parts]),
        )

    @property
    def rows(self) -> list[int]:
        """The numbers of rows: of training, validation and holdout, or of all together."""
        splits = (self.train,) if self.validation is None else (self.train, self.validation, self.holdout)
        return [len(split.rows.target) for split in splits]


def codes_of(preprocess: Preprocess) -> tuple[int, ...]:
    """Number of codes of each categorical column: its categories, null and unseen."""
    return tuple(len(category.categories) + FIRST_CODE for category in preprocess.categorical)


def require_rows(tables: Mapping[str, pa.Table]) -> None:
    """Checks that each split, by its name, has rows.

    Raises:
        InputError: One has none.
    """
    for name, table in tables.items():
        if not table.num_rows:
            raise InputError(
                f"the {name} split has no rows with known labels",
                expected="labelled rows in each of the three windows",
                remedy="ingest the missing days (`tally run … ingest`), or choose a later training date",
            )


def make_split(spec: Training, preprocess: Preprocess, table: pa.Table) -> Split:
    """A table with its matrices.

    Raises:
        InputError: A target that is missing or null, an unusable column.
    """
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
    # Column by column is how Arrow fills them; an estimator reads rows.
    return Split(table, Rows(np.ascontiguousarray(inputs.numeric), np.ascontiguousarray(inputs.categorical), values))
