"""64-bit hashes of many byte strings at once: one pass a word of eight bytes, over all strings together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

Hashes = npt.NDArray[np.uint64]

_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)
_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_WORD: Final = 8


def mix(values: Hashes) -> Hashes:
    """A bijection of 64-bit integers in which every input bit moves every output bit (the finaliser of SplitMix64)."""
    mixed = values + _STEP
    mixed ^= mixed >> np.uint64(30)
    mixed *= _FIRST
    mixed ^= mixed >> np.uint64(27)
    mixed *= _SECOND
    mixed ^= mixed >> np.uint64(31)
    return mixed


def hash_bytes(array: pa.Array) -> Hashes:
    """One hash a string; the length takes part, the content of null slots does not matter to the caller.

    Args:
        array: A large_string or large_binary array.
    """
    if len(array) == 0:
        return np.empty(0, dtype=np.uint64)
    offsets = np.frombuffer(array.buffers()[1], dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    lengths = np.diff(offsets)
    words = _words(array.buffers()[2], int(offsets[0]), int(offsets[-1]))
    if words is None:
        return mix(lengths.astype(np.uint64))
    shortest = int(lengths.min())
    if shortest == lengths.max():
        return _hash_equal(words, len(array), shortest)
    return _hash_any(words, offsets[:-1] - offsets[0], lengths, shortest)


def _hash_equal(words: Hashes, count: int, length: int) -> Hashes:
    """Strings of one length, as identifiers often are, stand at equal distances: nothing has to be gathered."""
    hashes = np.full(count, mix(np.array([length], dtype=np.uint64)))
    for position in range(0, length, _WORD):
        every = np.ndarray(shape=(count,), dtype="<u8", buffer=words.base, offset=position, strides=(length,))
        hashes ^= every & _mask(np.array(length - position))
        hashes = mix(hashes)
    return hashes


def _hash_any(words: Hashes, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], shortest: int) -> Hashes:
    hashes = mix(lengths.astype(np.uint64))
    position = 0
    while position < shortest:
        hashes ^= words[starts + position] & _mask(lengths - position)
        hashes = mix(hashes)
        position += _WORD
    active = np.flatnonzero(lengths > position)
    while len(active):
        # Only strings that reach this far take part, so one long string costs one step a word and no more.
        chunk = words[starts[active] + position] & _mask(lengths[active] - position)
        hashes[active] = mix(hashes[active] ^ chunk)
        position += _WORD
        active = active[lengths[active] > position]
    return hashes


def _words(buffer: pa.Buffer | None, first: int, last: int) -> Hashes | None:
    """A view in which element `i` is the little-endian word that starts at byte `i`; padded so that all may be read."""
    if buffer is None or last == first:
        return None
    padded = np.zeros(last - first + _WORD, dtype=np.uint8)
    padded[: last - first] = np.frombuffer(buffer, dtype=np.uint8)[first:last]
    return np.ndarray(shape=(last - first,), dtype="<u8", buffer=padded.data, strides=(1,))


def _mask(left: npt.NDArray[np.int64]) -> Hashes:
    """Ones for the bytes of the word that belong to a string with `left` more bytes."""
    bits = (np.minimum(left, _WORD) * _WORD).astype(np.uint64)
    masks: Hashes = np.uint64(0xFFFFFFFFFFFFFFFF) >> (np.uint64(64) - bits)
    return masks
