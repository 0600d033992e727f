"""Records as version 0.1.0 wrote them: their digests say form 0."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tallywright.spec.base import Identity, Section


@contextmanager
def as_the_first_version(section: type[Section]) -> Iterator[None]:
    """Inside, a section knows form 0 alone."""
    identity = section.identity  # type: ignore[attr-defined]

    def first(self: Section) -> Identity:
        form = identity(self).first
        assert form
        return Identity(current=form, first=form)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(section, "identity", first)
        yield
