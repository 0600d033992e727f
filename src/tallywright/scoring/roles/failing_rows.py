"""Finds the rows of a batch on which a model's graph raises an error, without asking more often than is needed.

An error of ONNX Runtime is dear, about as dear as two thousand sound rows, and tells nothing but that some row of those
asked for fails. So the first error is followed by one look at all indices that the graph looks up (`refusals`): the
rows that it is known to refuse are left out, which costs part of a pass, however many they are. The rest is scored as
usual. Where it fails still, for a reason that cannot be read, rows are searched: first whether more of them fail than
may (a few rows, one at a time, in random order), which ends it; otherwise by halving groups whose size suits the share
of rows that fail, and without asking for a half that must fail because the other one is sound. Which rows fail stays a
function of each row alone: a row fails if the graph raises an error for it.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from tallywright.errors import PackageError
from tallywright.packaging.predictor import MICRO_BATCH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tallywright.packaging.predictor import Predictor
    from tallywright.packaging.preprocess import ModelInput

_MOST_PROBES: Final = 512
_FIRST_LOOK: Final = 64
"""After so many rows, a share below the allowed one ends the probing: it will not be shown to be above."""
_EVIDENCE: Final = 20.0
"""In nats: were the share just the allowed one, so many failing rows would come up once in 500 million probes."""
_SEED: Final = int.from_bytes(hashlib.sha256(b"rows that are probed for failures").digest(), "big")


class HopelessError(Exception):
    """More rows fail than may; `failing` of `tried` rows did."""

    def __init__(self, failing: int, tried: int) -> None:
        super().__init__(failing, tried)
        self.failing, self.tried = failing, tried


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many rows of a batch may fail.

    Attributes:
        most: Of those that count.
        counts: A mask of the rows that count.
    """

    most: int
    counts: NDArray[np.bool_]


def score_sound_rows(
    predictor: Predictor, inputs: ModelInput, allowance: Allowance | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scores the rows that can be scored; the others get NaN, and are True in the mask.

    Args:
        predictor: The model.
        inputs: Prepared rows, some of which may make the graph fail.
        allowance: Beyond it the search ends; None searches to the end.

    Raises:
        HopelessError: More rows fail than may.
    """
    scores = predictor.no_scores(inputs.rows)
    done = 0
    try:
        for start in range(0, inputs.rows, MICRO_BATCH):
            scores[start : start + MICRO_BATCH] = predictor.score(inputs.take(slice(start, start + MICRO_BATCH)))
            done = start + MICRO_BATCH
    except PackageError:
        search = _Search(predictor, inputs, allowance)
        rest = search.leave_out(done)
        search.score(rest, scores, failed_before=not search.failed[done : done + MICRO_BATCH].any())
        return scores, search.failed
    return scores, np.zeros(inputs.rows, dtype=np.bool_)


def _scored(
    predictor: Predictor, inputs: ModelInput, rows: NDArray[np.intp], scores: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Scores rows that were found sound; a mask of those that are so in a full batch too, which counts."""
    sound = np.ones(rows.size, dtype=np.bool_)
    waiting = [np.arange(rows.size)] if rows.size else []
    while waiting:
        part = waiting.pop()
        try:
            scores[rows[part]] = predictor.score(inputs.take(rows[part]))
        except PackageError:
            if part.size == 1:
                sound[part] = False
            else:
                waiting += np.array_split(part, 2)
    return sound


class _Search:
    """The state of the search in one batch: the rows that were found to fail."""

    def __init__(self, predictor: Predictor, inputs: ModelInput, allowance: Allowance | None) -> None:
        self.failed = np.zeros(inputs.rows, dtype=np.bool_)
        self._predictor, self._inputs, self._allowance = predictor, inputs, allowance
        self._share: float | None = None
        self._open = np.arange(inputs.rows)
        self._found = 0

    def leave_out(self, start: int) -> NDArray[np.intp]:
        """Marks the rows from `start` on that the graph is known to refuse; returns the others.

        Raises:
            HopelessError: They are more than may fail.
        """
        self.failed[start:] = self._predictor.refused(self._inputs.take(slice(start, None)))
        if self._allowance is not None:
            self._found = int(np.count_nonzero(self.failed & self._allowance.counts))
            if self._found > self._allowance.most:
                raise HopelessError(self._found, self._inputs.rows)
        self._open = start + np.flatnonzero(~self.failed[start:])
        return self._open

    def score(self, rows: NDArray[np.intp], scores: NDArray[np.float32], *, failed_before: bool) -> None:
        """Scores these rows as far as they can be, and marks the others; the first piece is not asked a second time."""
        for start in range(0, rows.size, MICRO_BATCH):
            part = rows[start : start + MICRO_BATCH]
            if start or not failed_before:
                try:
                    scores[part] = self._predictor.score(self._inputs.take(part))
                    continue
                except PackageError:
                    pass
            self.find(part)
            sound = part[~self.failed[part]]
            self.failed[sound] = ~_scored(self._predictor, self._inputs, sound, scores)

    def find(self, rows: NDArray[np.intp]) -> None:
        """Marks the rows that fail among these, of which one at least does."""
        if self._share is None:
            self._share = self._probe()
        size = _group_size(self._share, rows.size)
        groups = [rows[start : start + size] for start in range(0, rows.size, size)]
        for group in groups:
            # The whole is known to fail.
            if len(groups) == 1 or self._fails(group):
                self._halve(group)

    def _halve(self, group: NDArray[np.intp]) -> None:
        """Marks the failing rows of a group that failed."""
        waiting = [(group, True)]
        while waiting:
            part, was_asked = waiting.pop()
            if part.size == 1:
                # An error that was not about a row (of memory, say) makes none of them fail.
                if was_asked or self._fails(part):
                    self._mark(int(part[0]))
                continue
            left, right = part[: part.size // 2], part[part.size // 2 :]
            if not self._fails(left):
                waiting.append((right, False))
                continue
            waiting.append((left, True))
            if self._fails(right):
                waiting.append((right, True))

    def _mark(self, row: int) -> None:
        self.failed[row] = True
        allowance = self._allowance
        if allowance is not None and allowance.counts[row]:
            self._found += 1
            if self._found > allowance.most:
                raise HopelessError(self._found, row + 1)

    def _fails(self, rows: NDArray[np.intp]) -> bool:
        return self._predictor.fails(self._inputs.take(rows))

    def _probe(self) -> float:
        """The share of failing rows among some that are drawn at random from those of which nothing is known.

        Raises:
            HopelessError: It is far above the share that may fail.
        """
        drawn = self._open[self._allowance.counts[self._open]] if self._allowance else self._open
        if not drawn.size:
            return 0.0
        most = min((self._allowance.most - self._found) / drawn.size, 1.0) if self._allowance else 1.0
        failing = tried = 0
        for row in _some(drawn):
            tried += 1
            failing += self._fails(np.array([row]))
            if failing / tried > most and tried * _divergence(failing / tried, most) > _EVIDENCE:
                raise HopelessError(failing, tried)
            if tried >= _FIRST_LOOK and failing / tried <= most:
                break
        return failing / tried


def _some(rows: NDArray[np.intp]) -> Iterator[int]:
    """Some of the rows in a random order, the same at each call; no order of the data itself is like it."""
    generator = np.random.Generator(np.random.PCG64(_SEED))
    yield from (int(row) for row in generator.permutation(rows)[:_MOST_PROBES])


def _divergence(share: float, most: float) -> float:
    """The relative entropy of two shares, in nats: the exponent of the bound by Chernoff and Hoeffding."""
    if most <= 0:
        return math.inf
    found = share * math.log(share / most)
    return found + (1 - share) * math.log((1 - share) / (1 - most)) if share < 1 else found


def _group_size(share: float, rows: int) -> int:
    """The size of groups of which about a half fail; all rows where few fail."""
    return max(1, min(rows, 1 << int(math.log2(0.7 / share)))) if share > 0 else rows
