"""What a small table is: one record class says its columns and their types, and the rest is one line each."""

from __future__ import annotations

import types
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, Union, get_args, get_origin

import pyarrow as pa

from tallywright.records import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo

R = TypeVar("R", bound=Record)

_TYPES: Final[Mapping[type, pa.DataType]] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    date: pa.date32(),
    datetime: pa.timestamp("us", "UTC"),
}


class Kind(StrEnum):
    """How rows come into a table."""

    APPEND = "a row is appended onto exactly the rows that it was decided on; none ever changes"
    SLICE = "all rows of a slice are replaced in one commit; its last writer wins"
    UPDATE = "all rows are written anew from what they were, unless somebody else was faster: then it is thought again"


@dataclass(frozen=True)
class Declaration(Generic[R]):
    """A small table of each model.

    Attributes:
        what: `tallies` for `<model>__tallies`.
        record: A row; the stored columns are its fields, in their order.
        key: The columns that tell rows apart.
        slice: The columns whose values say which rows a write replaces.
        kind: How rows come into it.
        doc: One line for `docs/tables.md`.
        partition_by: Columns that have a folder a value; small tables have none.
    """

    what: str
    record: type[R]
    key: tuple[str, ...]
    slice: tuple[str, ...]
    kind: Kind
    doc: str
    partition_by: tuple[str, ...] = ()

    @cached_property
    def schema(self) -> pa.Schema:
        """The stored columns."""
        return pa.schema([(name, _arrow_type(field)) for name, field in self.record.model_fields.items()])

    def require(self, kind: Kind) -> None:
        """Refuses to be written in another way than was declared.

        Raises:
            TypeError: It is of another kind.
        """
        if kind is not self.kind:
            raise TypeError(f"the table of {self.what} is declared as {self.kind.name}, not {kind.name}")

    def record_of(self, row: Mapping[str, Any]) -> R:
        """A stored row as a record: columns that only the table has are left out, missing ones have their default."""
        known = {}
        for name, field in self.record.model_fields.items():
            value = row.get(name)
            if value is not None or field.is_required():
                known[name] = value
        return self.record.model_validate(known)


def _arrow_type(field: FieldInfo) -> pa.DataType:
    """The Arrow type of a field's annotation; one in `Annotated[…]` goes before it."""
    given = next((extra for extra in field.metadata if isinstance(extra, pa.DataType)), None)
    return given if given is not None else _type_of(field.annotation)


def _type_of(annotation: Any) -> pa.DataType:
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (part for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) is tuple:
        return pa.list_(_type_of(get_args(annotation)[0]))
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return pa.string()
    try:
        return _TYPES[annotation]
    except KeyError:
        raise TypeError(f"no column can hold {annotation!r}; a table has {', '.join(map(str, _TYPES))}") from None
