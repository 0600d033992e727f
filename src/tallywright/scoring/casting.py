"""Whose answer a row gets: the champion's, the canary's or the fallback's; a function of the row alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from tallywright.data.text_hash import mix
from tallywright.packaging.buffers import number_array
from tallywright.scoring.answers import Answer, answer
from tallywright.scoring.role_counts import CanaryCounts, fixed
from tallywright.scoring.score_job import CanaryRule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tallywright.data.fingerprint import Hashes
    from tallywright.profiles.accumulate import Accumulator
    from tallywright.scoring.scorer import Counts, Voice

OUTPUT: Final = "output"
PREDICTION: Final = "prediction"
_ROUND: Final = 1 << 64


def canary_rule(model: str, version: int, share: float) -> CanaryRule:
    """The rule for a share of the keys.

    The salt is the model's name and the canary's version: a key stays in or out for as long as this version is tried,
    and the next version is tried on other keys. A larger share only adds keys.
    """
    salt = hashlib.blake2b(f"canary:{model}:{version}".encode(), digest_size=8).digest()
    return CanaryRule(salt=int.from_bytes(salt, "little"), below=int(Fraction(share) * _ROUND))


def is_canary(rule: CanaryRule, hashes: Hashes) -> NDArray[np.bool_]:
    """True for the keys (by their hashes) that are the canary's."""
    mask: NDArray[np.bool_] = mix(hashes ^ np.uint64(rule.salt)) < np.uint64(rule.below)
    return mask


@dataclass(frozen=True, slots=True)
class Cast:
    """The rows of a batch with the answers that they get: `who` numbers the voices lead, canary, fallback."""

    outputs: pa.RecordBatch
    who: NDArray[np.int8]


LEAD, CANARY, FALLBACK = 0, 1, 2


class Casting:
    """Gives every row of a batch one answer.

    Args:
        lead: Answers for every row that is nobody else's.
        canary: With its rule; None when there is none.
        fallback: Stands in where the lead fails; None when nobody does.
        covers: The failures in which it does.
    """

    def __init__(
        self, lead: Voice, canary: tuple[Voice, CanaryRule] | None, fallback: Voice | None, covers: frozenset[str]
    ) -> None:
        self._lead = lead
        self._canary = canary
        self._fallback = fallback
        self._covers = covers

    def cast(self, batch: pa.RecordBatch, hashes: Hashes, counts: Counts) -> Cast:
        """Asks the models and counts what they say.

        Raises:
            InputError: A column is missing or mistyped.
            PackageError: The lead's graph fails on a row, and that is not covered.
        """
        lead = self._ask_lead(batch)
        chosen = _Chosen(lead.outputs)
        if self._canary is not None:
            voice, rule = self._canary
            self._add_canary(chosen, voice, np.flatnonzero(is_canary(rule, hashes)), (batch, lead, counts))
        if self._fallback is not None:
            bad = np.flatnonzero(self._covered(lead) & (chosen.who == LEAD))
            self._add_fallback(chosen, self._fallback, bad, (batch, counts))
        sound = ~self._covered(lead)
        _profile(counts.profile, lead, slice(None) if sound.all() else np.flatnonzero(sound))
        return chosen.cast()

    def _ask_lead(self, batch: pa.RecordBatch) -> Answer:
        lead = answer(self._lead.predictor, batch)
        if lead.error is not None and PREDICTION not in self._covers:
            raise lead.error
        return lead

    def _covered(self, lead: Answer) -> NDArray[np.bool_]:
        """The rows in which the fallback may stand in."""
        failed = lead.failed if PREDICTION in self._covers else np.zeros_like(lead.failed)
        return failed | (lead.broken & ~lead.failed) if OUTPUT in self._covers else failed

    def _add_canary(
        self, chosen: _Chosen, voice: Voice, rows: NDArray[np.intp], asked: tuple[pa.RecordBatch, Answer, Counts]
    ) -> None:
        """The canary's rows; the champion takes those that the canary has no sound answer to."""
        batch, lead, counts = asked
        if not rows.size:
            return
        said = answer(voice.predictor, _take(batch, rows))
        good = np.flatnonzero(~said.broken)
        both = good[~lead.broken[rows[good]]]
        bits = self._lead.predictor.definition.score_bits
        counts.canary += CanaryCounts(
            rows=int(rows.size),
            problems=int(rows.size - good.size),
            compared=int(both.size),
            champion_total=fixed(lead.prediction.scores[rows[both]], bits),
            canary_total=fixed(said.prediction.scores[both], bits),
            bits=bits,
        )
        _profile(counts.profiles[voice.label], said, good)
        chosen.give(CANARY, said.outputs, rows[good], good)

    def _add_fallback(
        self, chosen: _Chosen, voice: Voice, rows: NDArray[np.intp], asked: tuple[pa.RecordBatch, Counts]
    ) -> None:
        """The fallback's answers; where they are no good either, the output gate will say so."""
        batch, counts = asked
        if not rows.size:
            return
        said = answer(voice.predictor, _take(batch, rows))
        _profile(counts.profiles[voice.label], said, slice(None))
        chosen.give(FALLBACK, said.outputs, rows, np.arange(rows.size))


class _Chosen:
    """Answers of several models side by side, and which of them each row gets."""

    def __init__(self, outputs: pa.RecordBatch) -> None:
        self._batches = [outputs]
        self._end = outputs.num_rows
        self._place = np.arange(outputs.num_rows, dtype=np.int64)
        self.who = np.zeros(outputs.num_rows, dtype=np.int8)

    def give(self, voice: int, outputs: pa.RecordBatch, rows: NDArray[np.intp], places: NDArray[np.intp]) -> None:
        """The rows get the answers at these places of the outputs."""
        self._batches.append(outputs)
        self._place[rows] = self._end + places
        self.who[rows] = voice
        self._end += outputs.num_rows

    def cast(self) -> Cast:
        """All rows in their order."""
        if len(self._batches) == 1:
            return Cast(self._batches[0], self.who)
        whole = pa.Table.from_batches(self._batches).combine_chunks().to_batches()[0]
        return Cast(_take(whole, self._place), self.who)


def _take(batch: pa.RecordBatch, rows: NDArray[np.integer]) -> pa.RecordBatch:
    return batch.take(number_array(rows.astype(np.int64, copy=False), pa.int64()))


def _profile(accumulator: Accumulator, said: Answer, rows: NDArray[np.intp] | slice) -> None:
    inputs = said.prediction.inputs.take(rows)
    accumulator.update(inputs.numeric, inputs.categorical, said.prediction.scores[rows])
