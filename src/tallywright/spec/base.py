"""The pydantic base of every spec section: frozen, unknown keys forbidden."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from tallywright.records import digest_of


class Section(BaseModel):
    """A part of the spec; immutable once it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())

    def digest(self, *, without: frozenset[str] = frozenset()) -> str:
        """The sha256 of the section's content, leaving out the fields that do not change a result."""
        return digest_of(self.as_json(without=without))

    def as_json(self, *, without: frozenset[str] = frozenset()) -> dict[str, Any]:
        """The section as JSON-able values."""
        return self.model_dump(mode="json", exclude=set(without))
