"""What a test needs that neither pip nor Maven brings: a browser, PostgreSQL, Go."""

from __future__ import annotations

import os
from typing import Final, NoReturn

import pytest

EVERYTHING: Final = os.environ.get("TALLYWRIGHT_TEST_EVERYTHING") == "1"
"""`make test-full` runs everything, or says what it takes."""
NOT_RUN_HERE: Final = "not run here: "
"""Begins the reason of a test that is skipped because the machine lacks something; the last lines repeat them."""


def lacking(what: str, remedy: str) -> NoReturn:
    """Ends a test on a machine that lacks something: skipped, and told at the end; of `make test-full`, a failure."""
    reason = f"{NOT_RUN_HERE}{what} ({remedy})"
    if EVERYTHING:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
