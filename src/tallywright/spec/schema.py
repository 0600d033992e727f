"""The JSON schema of `model.yaml`, for editors that complete and check while you type."""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tallywright.spec.base import Section
from tallywright.spec.model import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Iterator


def json_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of a whole `model.yaml`, descriptions included.

    The descriptions of fields are the docstrings under them. They are read here and not by pydantic
    (`use_attribute_docstrings`), which would read the source of every section whenever a command starts.
    """
    schema = ModelSpec.model_json_schema()
    for section in _sections(Section):
        described = schema if section is ModelSpec else schema["$defs"].get(section.__name__)
        fields = {} if described is None else described["properties"]
        for name, text in _field_docstrings(section):
            fields.get(name, {}).setdefault("description", text)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _sections(base: type[Section]) -> Iterator[type[Section]]:
    for section in base.__subclasses__():
        yield section
        yield from _sections(section)


def _field_docstrings(section: type[Section]) -> Iterator[tuple[str, str]]:
    """The fields of a section that have a docstring, those of its bases too."""
    for base in section.__mro__:
        if issubclass(base, Section) and base is not Section:
            (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
            assert isinstance(definition, ast.ClassDef)  # noqa: S101 - the source of a class
            for field, text in pairwise(definition.body):
                match field, text:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(docstring))):
                        yield name, inspect.cleandoc(docstring)
