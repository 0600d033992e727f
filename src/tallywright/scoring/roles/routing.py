"""Routes each row to the champion, the canary or the fallback; a function of the row alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from tallywright.buffers import number_array
from tallywright.data.fingerprint import mix
from tallywright.errors import PackageError
from tallywright.scoring.job import CanaryRule
from tallywright.scoring.roles.failing_rows import Allowance, HopelessError
from tallywright.scoring.roles.role_model import (
    CanaryCounts,
    CheckedPrediction,
    compared,
    predict_all,
    predict_checked,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tallywright.data.fingerprint import Hashes
    from tallywright.profiles.accumulate import Accumulator
    from tallywright.scoring.job import FallbackLimit
    from tallywright.scoring.roles.role_model import RoleModel, ScoringCounts

OUTPUT: Final = "output"
PREDICTION: Final = "prediction"
_ROUND: Final = 1 << 64


def canary_rule(model: str, version: int, share: float, *, strict: bool = False) -> CanaryRule:
    """The rule for a share of the keys.

    Keys are assigned by a hash, as in online experiments (Kohavi et al., "Controlled experiments on the web: survey and
    practical guide", 2009, section 4.1): without state, and the same in every split, engine and repeat. The salt is the
    model's name and the canary's version: a key stays in or out for as long as this version is tried, and the next
    version is tried on other keys. A larger share only adds keys.
    """
    salt = hashlib.blake2b(f"canary:{model}:{version}".encode(), digest_size=8).digest()
    # The float is taken as the exact fraction that it is, so that the bound is the same integer on every machine.
    return CanaryRule(salt=int.from_bytes(salt, "little"), below=int(Fraction(share) * _ROUND), strict=strict)


def is_canary(rule: CanaryRule, hashes: Hashes) -> NDArray[np.bool_]:
    """A mask of the keys (by their hashes) that the canary scores."""
    # Mixed once more: without it one version's canary keys would determine the next one's, a bit pattern apart.
    mask: NDArray[np.bool_] = mix(hashes ^ np.uint64(rule.salt)) < np.uint64(rule.below)
    return mask


@dataclass(frozen=True, slots=True)
class RoutedBatch:
    """The outputs of a batch after routing; `who` numbers the model of each row: primary, canary, fallback."""

    outputs: pa.RecordBatch
    who: NDArray[np.int8]


PRIMARY, CANARY, FALLBACK = 0, 1, 2


class Router:
    """Gives every row of a batch the outputs of one model.

    Args:
        primary: Scores every row that is no other model's.
        canary: With its rule; None when there is none.
        fallback: Scores the rows on which the primary fails; None when there is none.
        covers: The failures in which the fallback does.
        limit: How many rows of the day may fall back; None where that is not asked.
    """

    def __init__(
        self,
        primary: RoleModel,
        canary: tuple[RoleModel, CanaryRule] | None,
        fallback: RoleModel | None,
        covers: frozenset[str],
        limit: FallbackLimit | None = None,
    ) -> None:
        self._primary = primary
        self._canary = canary
        self._fallback = fallback
        self._covers = covers
        self._limit = limit

    def route(self, batch: pa.RecordBatch, hashes: Hashes, counts: ScoringCounts) -> RoutedBatch:
        """Scores the batch with each model and counts the results.

        Raises:
            InputError: A column is missing or mistyped.
            PackageError: The primary's graph fails on a row, and that is not covered.
            GateRefusedError: It fails on more rows than may fall back.
        """
        primary = self._predict_primary(batch, hashes, counts)
        chosen = _RoutedOutputs(primary.outputs)
        if self._canary is not None:
            role_model, rule = self._canary
            rows = np.flatnonzero(is_canary(rule, hashes))
            checked = self._ask_canary(role_model, rule, _take(batch, rows), counts) if rows.size else None
            if checked is not None:
                self._add_canary(chosen, (role_model, checked), rows, (primary, counts))
        if self._fallback is not None:
            bad = np.flatnonzero(self._covered(primary) & (chosen.who == PRIMARY))
            self._add_fallback(chosen, self._fallback, bad, (batch, counts))
        sound = ~self._covered(primary)
        _profile(counts.profile, primary, slice(None) if sound.all() else np.flatnonzero(sound))
        return chosen.routed()

    def _predict_primary(self, batch: pa.RecordBatch, hashes: Hashes, counts: ScoringCounts) -> CheckedPrediction:
        """Predicts with the primary; ends as soon as what fails cannot be made good."""
        if PREDICTION not in self._covers:
            return predict_all(self._primary.predictor, batch)
        if self._limit is None or self._fallback is None:
            return predict_checked(self._primary.predictor, batch)
        # The rows of the canary's keys fall back only where it has no answer either.
        counting = ~is_canary(self._canary[1], hashes) if self._canary is not None else np.ones(hashes.size, np.bool_)
        left = max(0, self._limit.rows - counts.served[self._fallback.label])
        try:
            return predict_checked(self._primary.predictor, batch, Allowance(left, counting))
        except HopelessError as error:
            raise self._limit.exceeded(error.failing, error.tried) from None

    def _covered(self, primary: CheckedPrediction) -> NDArray[np.bool_]:
        """A mask of the rows that the fallback may score."""
        failed = primary.failed if PREDICTION in self._covers else np.zeros_like(primary.failed)
        return failed | (primary.broken & ~primary.failed) if OUTPUT in self._covers else failed

    def _ask_canary(
        self, role_model: RoleModel, rule: CanaryRule, batch: pa.RecordBatch, counts: ScoringCounts
    ) -> CheckedPrediction | None:
        """What the canary predicts; None once its graph has failed where it may not, which breaks its limit."""
        if not rule.strict:
            return predict_checked(role_model.predictor, batch)
        if counts.canary.stopped:
            return None
        try:
            return predict_all(role_model.predictor, batch)
        except PackageError:
            counts.canary += CanaryCounts(stopped=True)
            return None

    def _add_canary(
        self,
        chosen: _RoutedOutputs,
        canary: tuple[RoleModel, CheckedPrediction],
        rows: NDArray[np.intp],
        asked: tuple[CheckedPrediction, ScoringCounts],
    ) -> None:
        """Adds the canary's rows; those without a sound prediction of the canary's stay the champion's."""
        role_model, checked = canary
        primary, counts = asked
        good = np.flatnonzero(~checked.broken)
        both = good[~primary.broken[rows[good]]]
        bits = self._primary.predictor.definition.score_bits
        counts.canary += CanaryCounts(rows=int(rows.size), problems=int(rows.size - good.size))
        counts.canary += compared(primary.prediction.scores[rows[both]], checked.prediction.scores[both], bits)
        _profile(counts.profiles[role_model.label], checked, good)
        chosen.assign(CANARY, checked.outputs, rows[good], good)

    def _add_fallback(
        self,
        chosen: _RoutedOutputs,
        role_model: RoleModel,
        rows: NDArray[np.intp],
        asked: tuple[pa.RecordBatch, ScoringCounts],
    ) -> None:
        """Adds the fallback's rows; where they are broken too, the output gate counts them."""
        batch, counts = asked
        if not rows.size:
            return
        checked = predict_checked(role_model.predictor, _take(batch, rows))
        _profile(counts.profiles[role_model.label], checked, slice(None))
        chosen.assign(FALLBACK, checked.outputs, rows, np.arange(rows.size))


class _RoutedOutputs:
    """The outputs of several models side by side, and which of them each row gets."""

    def __init__(self, outputs: pa.RecordBatch) -> None:
        self._batches = [outputs]
        self._end = outputs.num_rows
        self._place = np.arange(outputs.num_rows, dtype=np.int64)
        self.who = np.zeros(outputs.num_rows, dtype=np.int8)

    def assign(
        self, role_model: int, outputs: pa.RecordBatch, rows: NDArray[np.intp], places: NDArray[np.intp]
    ) -> None:
        """Gives the rows the outputs at these places."""
        self._batches.append(outputs)
        self._place[rows] = self._end + places
        self.who[rows] = role_model
        self._end += outputs.num_rows

    def routed(self) -> RoutedBatch:
        """Assembles the outputs of all rows, in their order."""
        if len(self._batches) == 1:
            return RoutedBatch(self._batches[0], self.who)
        whole = pa.Table.from_batches(self._batches).combine_chunks().to_batches()[0]
        return RoutedBatch(_take(whole, self._place), self.who)


def _take(batch: pa.RecordBatch, rows: NDArray[np.integer]) -> pa.RecordBatch:
    return batch.take(number_array(rows.astype(np.int64, copy=False), pa.int64()))


def _profile(accumulator: Accumulator, checked: CheckedPrediction, rows: NDArray[np.intp] | slice) -> None:
    inputs = checked.prediction.inputs.take(rows)
    accumulator.update(inputs.numeric, inputs.categorical, checked.prediction.scores[rows])
