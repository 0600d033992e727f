from __future__ import annotations

import pickle

import pytest

from tallywright import errors
from tallywright.errors import TallyError

CLASSES = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, TallyError)]


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_says_found_expected_and_what_to_do(cls: type[TallyError]) -> None:
    error = cls("found this", expected="that", remedy="do so")
    assert str(error).splitlines() == ["found this", "  expected: that", "  to do:    do so"]


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_crosses_a_process_boundary(cls: type[TallyError]) -> None:
    copy = pickle.loads(pickle.dumps(cls("a", expected="b", remedy="c")))  # noqa: S301 - our own bytes
    assert (type(copy), copy.found, copy.expected, copy.remedy) == (cls, "a", "b", "c")


def test_exit_codes_tell_the_causes_apart() -> None:
    codes = [cls.exit_code for cls in CLASSES]
    assert len(set(codes)) == len(codes)
    assert 0 not in codes
