"""What an ONNX file from elsewhere reads, and of which columns of the package each of its inputs is made.

Understood are one matrix of numbers with the columns in the order of `training.numeric`, called `numeric` as a package
has it or otherwise, and one input for each column by its name, texts where the column is categorical.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tallywright.training.adoption.understood import other_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tallywright.errors import TallyError
    from tallywright.packaging.preprocess import Preprocess
    from tallywright.spec.sections import Training

NUMBERS: Final = {"tensor(float)": np.float32, "tensor(double)": np.float64}
TEXT: Final = "tensor(string)"
NULL_TEXT, UNSEEN_TEXT = "", "\ufffd"
"""What a graph that reads texts is given for null, and for a value that the training window does not have."""
_OWN: Final = ("numeric", "tensor(float)")
_CODES: Final = "categorical"
_MATRIX: Final = 2


@dataclass(frozen=True, slots=True)
class OnnxInput:
    """One input of a file.

    Args:
        name: Its name.
        kind: Its type, as ONNX Runtime writes it.
        of: The package's matrix that it is made of: `numeric` or `categorical`.
        place: The column of that; None for the whole matrix.
        keeps_axis: True where a column is a matrix of one column.
    """

    name: str
    kind: str
    of: str
    place: int | None = None
    keeps_axis: bool = True

    @property
    def is_own(self) -> bool:
        """True for an input of the package."""
        return self.place is None and (self.name, self.kind) == _OWN

    def values(self, matrices: Mapping[str, np.ndarray], preprocess: Preprocess) -> np.ndarray:
        """What the input is given for some rows."""
        matrix = matrices[self.of]
        if self.place is None:
            return matrix if self.is_own else matrix.astype(NUMBERS[self.kind])
        column = matrix[:, self.place]
        made = column.astype(NUMBERS[self.kind]) if self.of == "numeric" else self.texts(preprocess)[column]
        return made.reshape(-1, 1) if self.keeps_axis else made

    def texts(self, preprocess: Preprocess) -> np.ndarray:
        """The text of each code of its column."""
        assert self.place is not None  # noqa: S101 - of a column
        return np.array([NULL_TEXT, UNSEEN_TEXT, *preprocess.categorical[self.place].categories], dtype=object)


def understood_inputs(
    found: Sequence[Any], training: Training, refusal: Callable[[str], TallyError]
) -> tuple[OnnxInput, ...]:
    """The inputs of a file.

    Args:
        found: As ONNX Runtime describes them.
        training: The section of the spec.
        refusal: Makes the error of what is wrong.

    Raises:
        TallyError: They are none of those that are understood.
    """
    names, columns = {one.name for one in found}, {*training.numeric, *training.categorical}
    if _CODES in names and _CODES not in columns:
        raise refusal(
            "reads codes of categories, and does not say which values they stand for: export it with an input of texts "
            "for each column; or put it into the project as an estimator of kind onnx, with `categories`"
        )
    if len(found) == 1 and not names <= columns:
        return (_matrix(found[0], training, refusal),)
    if names != columns:
        raise refusal(other_columns(names, columns))
    return tuple(_column(one, training, refusal) for one in found)


def _matrix(one: Any, training: Training, refusal: Callable[[str], TallyError]) -> OnnxInput:
    width = len(training.numeric)
    fits = len(one.shape) == _MATRIX and (not isinstance(one.shape[-1], int) or one.shape[-1] == width)
    if one.type not in NUMBERS or not fits:
        raise refusal(f"reads {one.name} as {one.type} {one.shape}; a matrix would be float [rows, {width}]")
    if training.categorical:
        raise refusal(
            f"reads one matrix, and the spec has the categorical columns {', '.join(training.categorical)}: export it "
            "with an input for each column; one that reads codes becomes an estimator of kind onnx in the spec, which "
            "names their categories"
        )
    return OnnxInput(one.name, one.type, "numeric")


def _column(one: Any, training: Training, refusal: Callable[[str], TallyError]) -> OnnxInput:
    is_number = one.name in training.numeric
    fits = one.type in NUMBERS if is_number else one.type == TEXT
    if not fits or not 1 <= len(one.shape) <= _MATRIX:
        wanted = "float" if is_number else "text"
        raise refusal(f"reads {one.name} as {one.type} {one.shape}; expected {wanted} [rows, 1]")
    of = "numeric" if is_number else "categorical"
    place = (training.numeric if is_number else training.categorical).index(one.name)
    return OnnxInput(one.name, one.type, of, place, keeps_axis=len(one.shape) == _MATRIX)
