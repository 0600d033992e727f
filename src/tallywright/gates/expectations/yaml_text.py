"""Reads the YAML of a suite: scalars only as far as YAML is sure of them, bounded in size, each place with its line.

Dates stay texts, as in a spec, and are read by the type of the column that they are compared with; `1e-3` is a number.
An error never repeats what stands in the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import yaml

from tallywright.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MOST_CHARACTERS: Final = 4_000_000
_MOST_NODES: Final = 400_000
_DEEPEST: Final = 20
_FLOAT: Final = re.compile(
    r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?"
    r"|\.(?:inf|Inf|INF|nan|NaN|NAN))$"
)
_WHOLE: Final = re.compile(r"^[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$")
_TAG: Final = "tag:yaml.org,2002:"
_READ_BY_TYPE: Final = frozenset({f"{_TAG}timestamp", f"{_TAG}float", f"{_TAG}int"})


class _SuiteLoader(_Base):  # type: ignore[misc] # the base is libyaml's where PyYAML was built with it
    """A safe loader without dates, octal and base-60 numbers, and without a key that stands twice."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(names)) != len(names):
            raise yaml.constructor.ConstructorError(None, None, "a key stands twice", node.start_mark)
        super().flatten_mapping(node)


_SuiteLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _READ_BY_TYPE]
    for first, resolvers in _Base.yaml_implicit_resolvers.items()
}
_SuiteLoader.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+0123456789."))
_SuiteLoader.add_implicit_resolver(f"{_TAG}int", _WHOLE, list("-+0123456789"))


@dataclass(frozen=True, slots=True)
class YamlText:
    """The values of a file, and where they stand.

    Attributes:
        values: The content.
        lines: By path, such as `("expectations", 0, "column")`, the number of the line.
    """

    values: Any
    lines: Mapping[tuple[str | int, ...], int] = field(default_factory=dict)

    def place(self, file: Path, *path: str | int) -> str:
        """The file with the line of a path, or of the nearest part above it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return f"{file}:{self.lines[path[:end]]}"
        return str(file)


def read_yaml(text: str, file: Path) -> YamlText:
    """Reads a text.

    Raises:
        SpecError: It is not YAML, or larger or deeper than a suite can be.
    """
    try:
        _require_bounded(text)
        loader = _SuiteLoader(text.removeprefix("\ufeff"))
        try:
            node = loader.get_single_node()
            values = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f":{mark.line + 1}" if mark is not None else ""
        raise SpecError(f"{file}{line}: {error.problem or 'it cannot be read'}", expected="readable YAML") from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, AttributeError) as error:
        reason = str(error) if isinstance(error, _BoundsError) else "it cannot be read"
        raise SpecError(f"{file}: {reason}", expected="readable YAML") from None
    return YamlText(values, {} if node is None else dict(_lines(node, ())))


class _BoundsError(ValueError):
    """A text that is no suite by its size."""


def _require_bounded(text: str) -> None:
    """Counts nodes as they would be after all aliases are followed, without following them."""
    if len(text) > _MOST_CHARACTERS:
        raise _BoundsError(f"a suite has at most {_MOST_CHARACTERS:,} characters; this one has {len(text):,}")
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = [(None, 0)]
    for event in yaml.parse(text.removeprefix("\ufeff"), Loader=_SuiteLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, 1))
            if len(open_nodes) > _DEEPEST:
                raise _BoundsError(f"it is nested more than {_DEEPEST} deep")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_nodes.pop()
        elif isinstance(event, yaml.NodeEvent):
            anchor, size = event.anchor, _size(event, sizes)
        else:
            continue
        if anchor is not None:
            sizes[anchor] = size
        above, count = open_nodes[-1]
        open_nodes[-1] = (above, count + size)
        if count + size > _MOST_NODES:
            raise _BoundsError(f"it has more than {_MOST_NODES:,} values")


def _size(event: yaml.NodeEvent, sizes: Mapping[str, int]) -> int:
    if not isinstance(event, yaml.AliasEvent):
        return 1
    size = sizes.get(event.anchor or "")
    if size is None:
        raise _BoundsError("an alias stands for itself, or for nothing")
    return size


def _lines(node: yaml.Node, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """The lines of the expectations and of their keys; values of values stand near enough."""
    yield path, node.start_mark.line + 1
    if len(path) > 2:  # noqa: PLR2004 - list, expectation, key
        return
    if isinstance(node, yaml.SequenceNode):
        for number, part in enumerate(node.value):
            yield from _lines(part, (*path, number))
    elif isinstance(node, yaml.MappingNode):
        for key, part in node.value:
            if isinstance(key, yaml.ScalarNode):
                yield from _lines(part, (*path, key.value))
                yield (*path, key.value), key.start_mark.line + 1
