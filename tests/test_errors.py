from __future__ import annotations

import pickle

import pytest

from tallywright import errors
from tallywright.data.etl.day_checks import WrongLabelsError
from tallywright.errors import InputError, SpecError, SpecProblem, TallyError, UnexpectedError
from tallywright.orchestration.embedded.rest import RestError

CLASSES = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, TallyError)]


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_says_found_expected_and_what_to_do(cls: type[TallyError]) -> None:
    error = cls("found this", expected="that", remedy="do so")
    assert str(error).splitlines() == ["found this", "  expected: that", "  to do:    do so"]


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_crosses_a_process_boundary(cls: type[TallyError]) -> None:
    copy = pickle.loads(pickle.dumps(cls("a", expected="b", remedy="c")))  # noqa: S301 - our own bytes
    assert (type(copy), copy.found, copy.expected, copy.remedy) == (cls, "a", "b", "c")


@pytest.mark.parametrize(
    "error",
    [
        RestError(503, "no", "GET /x"),
        WrongLabelsError("a", expected="b", remedy="c"),
        SpecError("a", remedy="c", problems=(SpecProblem("model.yaml", 3, "a.b", "a.b: wrong", "x", "y"),)),
        InputError("a", checks=("one", "two")),
        UnexpectedError.of(ValueError("x")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_so_does_all_that_an_error_carries(error: TallyError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert (copy.exit_code, copy.retryable, copy.args) == (error.exit_code, error.retryable, error.args)
    assert {key: vars(copy)[key] for key in vars(error)} == vars(error)


def test_exit_codes_tell_the_causes_apart() -> None:
    codes = [cls.exit_code for cls in CLASSES]
    assert len(set(codes)) == len(codes)
    assert 0 not in codes
