"""The content digest of rows, independent of their order: equal rows, equal digest, however they are stored or split.

Everything is 64-bit integer arithmetic in numpy on Arrow's buffers, so a digest is the same on every machine and with
every version of the libraries. It tells contents apart, but is not cryptographic: a collision can be constructed. All
texts are hashed together, one pass for each word of eight bytes.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tallywright.buffers import valid_mask, values_of
from tallywright.errors import TableContractError
from tallywright.records import Record, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Hashes = npt.NDArray[np.uint64]
# Every stored digest and every canary's share of the keys follows from these numbers: they never change.
# The factors and shifts of `mix` are variant 13 of Stafford ("Better bit mixing", 2011), the step is 2**64 over the
# golden ratio: together the output function of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
# generators", OOPSLA 2014).
_FACTOR_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_FACTOR_2: Final = np.uint64(0x94D049BB133111EB)
_GOLDEN_GAMMA: Final = np.uint64(0x9E3779B97F4A7C15)
_WORD: Final = 8
_CHUNK_ROWS: Final = 1 << 14
_MASK: Final = (1 << 64) - 1
# Arbitrary: one to mix the row hashes a second, different time, one for the hash of a null.
_REMIX: Final = np.uint64(0xD6E8FEB86659FD93)
_NULL: Final = np.uint64(0x9AE16A3B2F90404F)


def mix(values: Hashes) -> Hashes:
    """Mixes 64-bit integers: a bijection in which every input bit affects every output bit (SplitMix64's output)."""
    mixed = values + _GOLDEN_GAMMA
    mixed ^= mixed >> np.uint64(30)
    mixed *= _FACTOR_1
    mixed ^= mixed >> np.uint64(27)
    mixed *= _FACTOR_2
    mixed ^= mixed >> np.uint64(31)
    return mixed


def hash_bytes(array: pa.Array) -> Hashes:
    """Hashes each string with its length; the hashes of null slots are undefined.

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
    """Hashes strings of one length, as identifiers often are: their words lie at equal distances, without gathering."""
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
    """A mask of the word's bytes that belong to a string with `left` more bytes."""
    bits = (np.minimum(left, _WORD) * _WORD).astype(np.uint64)
    masks: Hashes = np.uint64(0xFFFFFFFFFFFFFFFF) >> (np.uint64(64) - bits)
    return masks


class RowDigest(Record):
    """The digest of a multiset of rows; digests of parts add up to the digest of the whole, in any order.

    `total` and `mixed` are two differently mixed sums modulo 2**64, `folded` is the exclusive or. Sums count a row as
    often as it occurs, where an exclusive or alone would lose every pair of equal rows; the second sum, over remixed
    hashes, makes it improbable that other rows have the same first one.
    """

    rows: int = 0
    total: int = 0
    mixed: int = 0
    folded: int = 0

    def __add__(self, other: RowDigest) -> RowDigest:
        return RowDigest(
            rows=self.rows + other.rows,
            total=(self.total + other.total) & _MASK,
            mixed=(self.mixed + other.mixed) & _MASK,
            folded=self.folded ^ other.folded,
        )

    @property
    def hex(self) -> str:
        """The digest as 64 hexadecimal digits."""
        return digest_of([self.rows, self.total, self.mixed, self.folded])


def repeated(ordered: Hashes) -> Hashes:
    """The hashes that occur more than once in an ascending array; one less often than it occurs."""
    found: Hashes = ordered[1:][ordered[1:] == ordered[:-1]]
    return found


def digest(data: pa.RecordBatch | pa.Table, columns: Sequence[str]) -> RowDigest:
    """The digest of the rows, over the named columns (in any order)."""
    total = RowDigest()
    for hashes in _hashed_chunks(data, columns):
        total += digest_hashes(hashes)
    return total


def row_hashes(data: pa.RecordBatch | pa.Table, columns: Sequence[str]) -> Hashes:
    """One 64-bit hash a row over the named columns, in row order; column names and kinds take part."""
    parts = list(_hashed_chunks(data, columns))
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.uint64)


def digest_hashes(hashes: Hashes) -> RowDigest:
    """The digest of the rows with these hashes."""
    total = mixed = folded = 0
    for start in range(0, len(hashes), _CHUNK_ROWS):
        chunk = hashes[start : start + _CHUNK_ROWS]
        total += int(chunk.sum(dtype=np.uint64))
        mixed += int(mix(chunk ^ _REMIX).sum(dtype=np.uint64))
        folded ^= int(np.bitwise_xor.reduce(chunk))
    return RowDigest.model_construct(rows=len(hashes), total=total & _MASK, mixed=mixed & _MASK, folded=folded)


def _hashed_chunks(data: pa.RecordBatch | pa.Table, columns: Sequence[str]) -> Iterator[Hashes]:
    """Yields row hashes in chunks that fit the processor's cache."""
    table = pa.Table.from_batches([data]) if isinstance(data, pa.RecordBatch) else data
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise TableContractError(f"no column {', '.join(missing)} to take the digest of")
    seeds = {name: _seed(name, _kind(table.schema.field(name).type)) for name in columns}
    for batch in table.select(list(dict.fromkeys(columns))).to_batches(max_chunksize=_CHUNK_ROWS):
        total = np.zeros(batch.num_rows, dtype=np.uint64)
        for name, seed in seeds.items():
            hashes = _values(batch.column(name))
            hashes ^= seed
            total += mix(hashes)
        yield mix(total)


def _seed(name: str, kind: str) -> np.uint64:
    text = f"{kind}:{name}".encode()
    return np.uint64(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little"))


def _kind(kind: pa.DataType) -> str:
    """The family of a type, which is what is hashed: widths, dictionaries and large offsets make no difference."""
    types = pa.types
    if types.is_dictionary(kind):
        return _kind(kind.value_type)
    families = {
        "int": types.is_integer,
        "float": types.is_floating,
        "bool": types.is_boolean,
        "date": types.is_date,
        "timestamp": types.is_timestamp,
        "text": lambda t: types.is_string(t) or types.is_large_string(t) or types.is_string_view(t),
        "bytes": lambda t: types.is_binary(t) or types.is_large_binary(t) or types.is_binary_view(t),
        "decimal": types.is_decimal,
        "list": lambda t: types.is_list(t) or types.is_large_list(t),
        "null": types.is_null,
    }
    for family, matches in families.items():
        if matches(kind):
            return family
    raise TableContractError(f"no digest for columns of type {kind}", expected=", ".join(families))


def _values(array: pa.Array) -> Hashes:
    """Hashes each value; all nulls have the same hash."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        inner = np.append(_values(array.dictionary), _NULL)
        indices = array.indices.fill_null(len(array.dictionary)) if array.indices.null_count else array.indices
        places = indices.to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
        taken: Hashes = inner[places]
        return taken
    hashes = _HASHERS[_kind(kind)](array)
    if array.null_count:
        hashes[~valid_mask(array)] = _NULL
    return hashes


def _ints(array: pa.Array) -> Hashes:
    wide = array.cast(pa.uint64() if pa.types.is_uint64(array.type) else pa.int64())
    return mix(_fixed(wide, np.uint64))


def _floats(array: pa.Array) -> Hashes:
    values = _fixed(array.cast(pa.float64()), np.float64)
    bits = values.view(np.uint64)
    nan = np.isnan(values)
    if nan.any():
        bits = np.where(nan, np.float64("nan").view(np.uint64), bits)
    return mix(bits)


def _bools(array: pa.Array) -> Hashes:
    return mix(_fixed(array.cast(pa.uint8()).cast(pa.uint64()), np.uint64))


def _dates(array: pa.Array) -> Hashes:
    return mix(_fixed(array.cast(pa.date32()).cast(pa.int32()).cast(pa.int64()), np.uint64))


def _timestamps(array: pa.Array) -> Hashes:
    return mix(_fixed(array.cast(pa.timestamp("us", array.type.tz)).cast(pa.int64()), np.uint64))


def _texts(array: pa.Array) -> Hashes:
    return hash_bytes(array.cast(pa.large_binary()) if _kind(array.type) == "bytes" else array.cast(pa.large_string()))


def _decimals(array: pa.Array) -> Hashes:
    return hash_bytes(array.cast(pa.string()).cast(pa.large_string()))


def _lists(array: pa.Array) -> Hashes:
    """Hashes each list: the hash of an element is mixed with its position, and these are summed."""
    wide = array.cast(pa.large_list(array.type.value_type))
    lengths = np.where(valid_mask(wide), values_of(wide.value_lengths()), 0).astype(np.int64)
    elements = _values(wide.flatten())
    starts = np.cumsum(lengths) - lengths
    owner = np.repeat(np.arange(len(array)), lengths)
    place = (np.arange(len(elements)) - starts[owner]).astype(np.uint64)
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mix(elements + mix(place)), dtype=np.uint64)])
    return mix(sums[starts + lengths] - sums[starts] + mix(lengths.astype(np.uint64)))


def _nulls(array: pa.Array) -> Hashes:
    return np.full(len(array), _NULL, dtype=np.uint64)


def _fixed(array: pa.Array, dtype: Any) -> npt.NDArray[Any]:
    """A view of the values of an eight-byte type; values of null slots are undefined."""
    values = np.frombuffer(array.buffers()[1], dtype=dtype) if len(array) else np.empty(0, dtype=dtype)
    return values[array.offset : array.offset + len(array)]


_HASHERS: Final = {
    "int": _ints,
    "float": _floats,
    "bool": _bools,
    "date": _dates,
    "timestamp": _timestamps,
    "text": _texts,
    "bytes": _texts,
    "decimal": _decimals,
    "list": _lists,
    "null": _nulls,
}
