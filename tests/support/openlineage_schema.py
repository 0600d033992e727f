"""The JSON schema of OpenLineage's events, for tests: the core of spec 2-0-2, and each facet by the client's classes.

openlineage-python ships no schema files. Its classes are generated from those that are published, and say by
`_schemaURL` from which: what a class demands is what the published schema of that version demands.
"""

from __future__ import annotations

import importlib
import pkgutil
import types
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

import attr
from jsonschema import Draft202012Validator, FormatChecker

CORE = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/"
TEXT = {"type": "string"}
FACETS = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "properties": {
            "_producer": {"type": "string", "format": "uri"},
            "_schemaURL": {"type": "string", "format": "uri"},
        },
        "required": ["_producer", "_schemaURL"],
    },
}


def _dataset(own: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"namespace": TEXT, "name": TEXT, "facets": FACETS, own: FACETS},
        "required": ["namespace", "name"],
        "additionalProperties": False,
    }


RUN_EVENT = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "eventTime": {"type": "string", "format": "date-time"},
        "producer": {"type": "string", "format": "uri"},
        "schemaURL": {"const": f"{CORE}RunEvent"},
        "eventType": {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
        "run": {
            "type": "object",
            "properties": {"runId": {"type": "string", "format": "uuid"}, "facets": FACETS},
            "required": ["runId"],
        },
        "job": {
            "type": "object",
            "properties": {"namespace": TEXT, "name": TEXT, "facets": FACETS},
            "required": ["namespace", "name"],
        },
        "inputs": {"type": "array", "items": _dataset("inputFacets")},
        "outputs": {"type": "array", "items": _dataset("outputFacets")},
    },
    "required": ["eventTime", "producer", "schemaURL", "run", "job"],
    "additionalProperties": False,
}
NAMES = {
    "DatasetVersionDatasetFacet": "version",
    "DocumentationDatasetFacet": "documentation",
    "DocumentationJobFacet": "documentation",
    "ErrorMessageRunFacet": "errorMessage",
    "DataQualityAssertionsDatasetFacet": "dataQualityAssertions",
    "InputStatisticsInputDatasetFacet": "inputStatistics",
    "JobTypeJobFacet": "jobType",
    "NominalTimeRunFacet": "nominalTime",
    "OutputStatisticsOutputDatasetFacet": "outputStatistics",
    "OwnershipDatasetFacet": "ownership",
    "OwnershipJobFacet": "ownership",
    "ParentRunFacet": "parent",
    "ProcessingEngineRunFacet": "processing_engine",
    "SchemaDatasetFacet": "schema",
    "SourceCodeLocationJobFacet": "sourceCodeLocation",
    "StorageDatasetFacet": "storage",
    "TagsJobFacet": "tags",
}
"""By class, the name under which the standard has a facet."""


def problems(event: dict[str, Any]) -> list[str]:
    """What is wrong with an event; nothing where it is valid."""
    found = list(_problems(RUN_EVENT, event, "event"))
    for where, facets in _all_facets(event):
        for name, facet in facets.items():
            known = _classes().get(facet.get("_schemaURL", ""))
            if known is None:
                found.append(f"{where}.{name}: no facet of the standard has {facet.get('_schemaURL')}")
            elif NAMES.get(known.__name__) != name:
                found.append(f"{where}.{name}: the standard calls it {NAMES.get(known.__name__)}")
            else:
                found += _problems(_schema(known), facet, f"{where}.{name}")
    return found


def _problems(schema: dict[str, Any], value: Any, where: str) -> list[str]:
    validator = Draft202012Validator(schema, format_checker=FormatChecker())
    return [f"{where}{list(error.absolute_path)}: {error.message}" for error in validator.iter_errors(value)]


def _all_facets(event: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    found = [(what, event.get(what, {}).get("facets", {})) for what in ("run", "job")]
    for side, own in (("inputs", "inputFacets"), ("outputs", "outputFacets")):
        for dataset in event.get(side, []):
            found += [(side, dataset.get("facets", {})), (f"{side}.{own}", dataset.get(own, {}))]
    return found


@cache
def _classes() -> dict[str, type]:
    """The client's facet classes by the address of their schema."""
    from openlineage.client import generated
    from openlineage.client.generated.base import BaseFacet

    for module in pkgutil.iter_modules(generated.__path__):
        importlib.import_module(f"{generated.__name__}.{module.name}")

    def below(base: type) -> list[type]:
        return [one for sub in base.__subclasses__() for one in (sub, *below(sub))]

    return {one._get_schema(): one for one in below(BaseFacet)}


def _schema(known: type) -> dict[str, Any]:
    """The JSON schema that a class was generated from, as far as its fields say it."""
    hints = get_type_hints(known)
    fields = [field for field in attr.fields(known) if not field.name.startswith("_")]
    meta = {"_producer": TEXT, "_schemaURL": TEXT} if hasattr(known, "_producer") else {}
    return {
        "type": "object",
        "properties": {field.name: _type(hints[field.name]) for field in fields} | meta,
        "required": [field.name for field in fields if field.default is attr.NOTHING],
        "additionalProperties": False,
    }


def _type(hint: Any) -> dict[str, Any]:
    if get_origin(hint) in (Union, types.UnionType):
        return {"anyOf": [_type(one) for one in get_args(hint) if one is not type(None)]}
    if get_origin(hint) is list:
        return {"type": "array", "items": _type(get_args(hint)[0])}
    if isinstance(hint, type) and attr.has(hint):
        return (
            _schema(hint) if hint.__name__ != "SchemaDatasetFacetFields" else {"type": "object", "required": ["name"]}
        )
    plain = {str: "string", int: "integer", float: "number", bool: "boolean"}
    return {"type": plain[hint]} if hint in plain else {"type": "object"}
