"""Reads the YAML of a suite: scalars mean what they mean in a spec, bounded in size, each place with its line.

Dates stay texts, and are read by the type of the column that they are compared with.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import yaml

from tallywright.errors import SpecError
from tallywright.spec.yaml_files import Loader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_MOST_CHARACTERS: Final = 4_000_000
_MOST_NODES: Final = 400_000
_DEEPEST: Final = 20


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
        loader = Loader(text.removeprefix("\ufeff"))
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
    for event in yaml.parse(text.removeprefix("\ufeff"), Loader=Loader):
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
