"""What a spec of before means today: defaults by its version, keys that moved, and what to write instead.

What an absent key means depends on the `spec_version` of a `model.yaml`. A spec without that key is of version 1, and
means what it meant to the first release: the defaults in the sections' classes, which therefore never change. A default
that turned out wrong gets a line in `DEFAULTS`, and holds for the specs that ask for its version; `tally init` writes
the newest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

from tallywright.spec.base import Section
from tallywright.spec.model import ModelSpec
from tallywright.spec.problems import section_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KEY: Final = "spec_version"
DEFAULTS: Final[Mapping[str, Mapping[int, Any]]] = {
    "data.sources.*.strict": {2: True},
    "data.sources.*.null_value": {2: ""},
    "training.refit": {2: True},
    "registry.author_may_approve": {2: False},
}
"""Path of a key, such as `gates.bootstrap`, to its default from a version on; `*` is each key of a mapping."""


def with_defaults(values: dict[str, Any], defaults: Mapping[str, Mapping[int, Any]] = DEFAULTS) -> dict[str, Any]:
    """Fills absent keys with the defaults of the spec's version; they count as given from here on.

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


def corrected_defaults(spec: ModelSpec, values: Mapping[str, Any]) -> list[str]:
    """The defaults of the first release that are wrong for this spec: what holds instead, and the line to write."""
    gates = values.get("gates") or {}
    if spec.spec_version > 1 or spec.training.task == "binary" or "primary_metric" in gates:
        return []
    metric = spec.gates.primary_metric
    return [
        (
            f"gates.primary_metric is {metric}: the default was roc_auc, which is no metric of the task "
            f"{spec.training.task}; to say so yourself, write `gates: {{primary_metric: {metric}}}`"
        )
    ]


def _filled(values: dict[str, Any], path: Sequence[str], default: Any, section: type[Section]) -> dict[str, Any]:
    head, *rest = path
    if not rest:
        return {head: default} | values
    field = section.model_fields[head]
    inner = values[head] if head in values else {} if isinstance(field.default, Section) else None
    below = section_in(field.annotation)
    if not isinstance(inner, dict) or below is None:
        # An optional section that is missing has no defaults; what is no section at all, validation refuses.
        return values
    if rest[0] != "*":
        return values | {head: _filled(inner, rest, default, below)}
    each = {
        name: _filled(one, rest[1:], default, below) if isinstance(one, dict) else one for name, one in inner.items()
    }
    return values | {head: each}


def moved_keys(values: Mapping[str, Any]) -> list[str]:
    """The keys of before that stand elsewhere now, or mean nothing any more, each with what to write."""
    training, gates = values.get("training"), values.get("gates")
    told = []
    if isinstance(training, dict) and isinstance(network := training.get("network"), dict):
        told.append(_network_moved(network, training.get("estimator")))
    if isinstance(gates, dict) and "bootstrap" in gates:
        told.append("gates.bootstrap is no longer used, as the gates judge by days; take the line out")
    return told


def _network_moved(network: dict[str, Any], estimator: Any) -> str:
    """What to write instead of `training.network`, which is laid over an estimator of torch."""
    layers: Any = {"kind": "torch"} if estimator is None else estimator
    if not isinstance(layers, dict) or layers.get("kind") != "torch":
        return "training.network is no longer used, as training.estimator says what is trained; take it out"
    line = yaml.safe_dump(layers | network, default_flow_style=True, width=10_000, sort_keys=False).strip()
    return f"training.network is training.estimator now, and is read as that; write `estimator: {line}`"
