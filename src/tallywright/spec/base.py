"""The pydantic base of spec sections (frozen, unknown keys forbidden), and the digests that identify a section.

Digests have two forms that are both compared for ever. Form 0, of the first version, hashes a list of fields that was
frozen then. Form 1 begins with `1:` and hashes the fields that differ from their defaults, so a field that is invented
later leaves it as it was. A record of either form is recognised; new records have form 1. What holds this together: the
default in the class never changes (another default is a matter of `upgrade.DEFAULTS`), and a field that form 0 does not
know makes form 0 match nothing once it is set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict

from tallywright.records import digest_of

if TYPE_CHECKING:
    from collections.abc import Mapping


def _inside_the_project(path: str) -> str:
    plain = re.fullmatch(r"[A-Za-z0-9_./\-]{1,500}", path)
    if path.startswith("/") or ".." in path.split("/") or not plain or max(map(len, path.split("/"))) > _LONGEST_PART:
        raise ValueError("a path below the model's folder is needed: letters, digits, `_ . - /`, no `..`, not absolute")
    return path


_LONGEST_PART: Final = 200
RelativePath = Annotated[str, AfterValidator(_inside_the_project)]
"""A path below the model's folder."""
PathOrNone = Annotated[str, AfterValidator(lambda path: path and _inside_the_project(path))]
"""The same, or an empty text for none."""

_FORM_1: Final = "1:"
Fields = dict[str, Any]
"""Names of fields; with None for the whole value, with `Fields` for a section, with a list of one for a mapping of
sections by name."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The digests of a section, in both forms; a new record stores `current`.

    Attributes:
        current: Form 1.
        first: Form 0; empty where the content has a field that the first version did not know.
    """

    current: str
    first: str

    def matches(self, stored: str) -> bool:
        """True when a stored digest, in whichever form, is of this content."""
        return bool(stored) and stored == (self.current if stored.startswith(_FORM_1) else self.first)

    @property
    def oldest(self) -> str:
        """The oldest form there is for this content: for names that must outlive a change of form."""
        return self.first or self.current


def identity_of(section: Section, fields: Fields, *, without: Mapping[str, Any] | None = None) -> Identity:
    """The identity of a section.

    Args:
        section: Its content.
        fields: The fields of the first version that change a result.
        without: The fields that change no result, as pydantic's `exclude`.
    """
    changed = section.model_dump(mode="json", exclude=dict(without or {}), exclude_defaults=True)
    whole = section.model_dump(mode="json")
    first = digest_of(_first_version_values(whole, fields)) if _in_first_version(fields, changed) else ""
    return Identity(current=_FORM_1 + digest_of(changed), first=first)


def _first_version_values(values: dict[str, Any], fields: Fields) -> dict[str, Any]:
    """The values of the fields that the first version hashed."""
    return {name: _value(values[name], inner) for name, inner in fields.items()}


def _value(value: Any, inner: Any) -> Any:
    if value is None or inner is None:
        return value
    if isinstance(inner, list):
        return {name: _first_version_values(one, inner[0]) for name, one in value.items()}
    return _first_version_values(value, inner)


def _in_first_version(fields: Fields, changed: dict[str, Any]) -> bool:
    """True when every changed field is one that the first version had."""
    return all(name in fields and _value_in_first_version(fields[name], value) for name, value in changed.items())


def _value_in_first_version(inner: Any, value: Any) -> bool:
    if value is None or inner is None:
        return True
    if isinstance(inner, list):
        return all(_in_first_version(inner[0], one) for one in value.values())
    return _in_first_version(inner, value)


class Section(BaseModel):
    """A part of the spec; immutable once it is read."""

    model_config = ConfigDict(frozen=True, defer_build=True, extra="forbid", protected_namespaces=())

    def digest(self, *, without: frozenset[str] = frozenset()) -> str:
        """The sha256 of the section's content, leaving out the fields that do not change a result."""
        return digest_of(self.as_json(without=without))

    def as_json(self, *, without: frozenset[str] = frozenset()) -> dict[str, Any]:
        """The section as JSON-able values."""
        return self.model_dump(mode="json", exclude=set(without))
