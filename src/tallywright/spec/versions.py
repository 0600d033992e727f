"""What an absent key means, by the `spec_version` of a `model.yaml`.

A spec without that key is of version 1, and means what it meant to the first release: the defaults in the sections'
classes, which therefore never change. A default that turned out wrong gets a line in `DEFAULTS`, and holds for the
specs that ask for its version; `tally init` writes the newest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tallywright.spec.base import Section
from tallywright.spec.model import ModelSpec
from tallywright.spec.problems import section_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KEY: Final = "spec_version"

DEFAULTS: Final[Mapping[str, Mapping[int, Any]]] = {}
"""Path of a key, such as `gates.bootstrap`, to its default from a version on."""


def with_defaults(values: dict[str, Any], defaults: Mapping[str, Mapping[int, Any]] = DEFAULTS) -> dict[str, Any]:
    """The values of a spec with what its version says of absent keys; they count as given from here on.

    Args:
        values: As they stand in the files, not validated.
        defaults: By path and version.
    """
    version = values.get(KEY, 1)
    if not isinstance(version, int):
        return values
    for path, by_version in defaults.items():
        reached = [since for since in by_version if since <= version]
        if reached:
            values = _filled(values, path.split("."), by_version[max(reached)], ModelSpec)
    return values


def misplaced(layer: Mapping[str, Any], sets: Sequence[str] = ()) -> bool:
    """Whether an overlay's layer, or one of the `--set` texts, says the version: it belongs to the text it is about."""
    return KEY in layer or any(text.partition("=")[0].strip().split(".")[0] == KEY for text in sets)


def _filled(values: dict[str, Any], path: Sequence[str], default: Any, section: type[Section]) -> dict[str, Any]:
    head, *rest = path
    if not rest:
        return {head: default} | values
    field = section.model_fields[head]
    inner = values[head] if head in values else {} if isinstance(field.default, Section) else None
    below = section_in(field.annotation)
    if not isinstance(inner, dict) or below is None:
        # An optional section that is not there has no defaults; what is no section at all, validation will say.
        return values
    return values | {head: _filled(inner, rest, default, below)}
