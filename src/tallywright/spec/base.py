"""The pydantic base of every spec section (frozen, unknown keys forbidden), and the digests that records know it by.

Digests have two forms that are both compared for ever. Form 0, of the first version, hashes a list of fields that was
frozen then. Form 1 begins with `1:` and hashes the fields that differ from their defaults, so a field that is invented
later leaves it as it was. A record of either form is recognised; new records say form 1. What holds this together: the
default in the class never changes (another default is a matter of `load.DEFAULTS`), and a field that form 0 does not
know makes form 0 match nothing once it says something.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict

from tallywright.records import digest_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_MARK: Final = "1:"
Fields = dict[str, Any]
"""Names of fields; with None for the whole value, with `Fields` for a section, with a list of one for a mapping of
sections by name."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a section is in digests: `current` is what a new record says.

    Attributes:
        current: Form 1.
        first: Form 0; empty where the first version could not have said it.
    """

    current: str
    first: str

    def matches(self, stored: str) -> bool:
        """Whether a record was made by this very content, whichever form it says."""
        return bool(stored) and stored == (self.current if stored.startswith(_MARK) else self.first)

    @property
    def oldest(self) -> str:
        """The first form that can say it: for names that must outlive a change of form."""
        return self.first or self.current


def identity_of(section: Section, fields: Fields, *, without: Mapping[str, Any] | None = None) -> Identity:
    """The identity of a section.

    Args:
        section: Its content.
        fields: The fields of the first version that change a result.
        without: The fields that change no result, as pydantic's `exclude`.
    """
    said = section.model_dump(mode="json", exclude=dict(without or {}), exclude_defaults=True)
    whole = section.model_dump(mode="json")
    first = digest_of(_chosen(whole, fields)) if _knows(fields, said) else ""
    return Identity(current=_MARK + digest_of(said), first=first)


def _chosen(values: dict[str, Any], fields: Fields) -> dict[str, Any]:
    """The values as the first version wrote them."""
    return {name: _value(values[name], inner) for name, inner in fields.items()}


def _value(value: Any, inner: Any) -> Any:
    if value is None or inner is None:
        return value
    if isinstance(inner, list):
        return {name: _chosen(one, inner[0]) for name, one in value.items()}
    return _chosen(value, inner)


def _knows(fields: Fields, said: dict[str, Any]) -> bool:
    """Whether all that is said stands in fields that the first version had."""
    return all(name in fields and _knows_value(fields[name], value) for name, value in said.items())


def _knows_value(inner: Any, value: Any) -> bool:
    if value is None or inner is None:
        return True
    if isinstance(inner, list):
        return all(_knows(inner[0], one) for one in value.values())
    return _knows(inner, value)


class Section(BaseModel):
    """A part of the spec; immutable once it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())

    def digest(self, *, without: frozenset[str] = frozenset()) -> str:
        """The sha256 of the section's content, leaving out the fields that do not change a result."""
        return digest_of(self.as_json(without=without))

    def as_json(self, *, without: frozenset[str] = frozenset()) -> dict[str, Any]:
        """The section as JSON-able values."""
        return self.model_dump(mode="json", exclude=set(without))
