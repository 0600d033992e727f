"""Reads YAML files as plain values, with one meaning.

A file is read by libyaml. Its scalars mean what a reader sees: `14:00` and `017` are texts (YAML 1.1 reads them in
base 60 and base 8), `2025-03-08` is a text, `1e-3` and `1_000` are numbers, and `yes`, `no`, `on`, `off`, `true`,
`false` are truth values. It is parsed once, references are put in once (`references`), and layers are laid over one
another as plain values.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final, cast

import yaml

from tallywright.errors import SpecError, UsageError
from tallywright.observability import log
from tallywright.spec.references import INTERPOLATION, literal, resolved

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_MOST_NODES: Final = 200_000
"""Of values in a file; aliases can make a short text very large."""
_MOST_BYTES: Final = 1 << 23
_MOST_BITS: Final = 256
_DEEPEST: Final = 50
"""How deep lists and mappings may stand in one another."""
_SURELY_SHALLOW: Final = 900
"""A text that opens fewer brackets, with shorter lines, is not so deep that building it could exhaust the stack."""
_SET_FORM: Final = "--set section.key=value, such as --set training.seed=8"
_KEY: Final = re.compile(r"[^\s.\[\]=]+")
_UNWRITABLE: Final = re.compile("[\x00\ud800-\udfff]")
_FLOAT: Final = re.compile(
    r"""^(?:
     [-+]?[0-9]+(?:_[0-9]+)*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+)
    |\.[0-9]+(?:_[0-9]+)*(?:[eE][-+][0-9]+)?
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)
BASE_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's, where PyYAML was built with it."""


class Loader(BASE_LOADER):  # type: ignore[misc]  # the base is libyaml's where PyYAML was built with it
    """A YAML loader with the scalars of this module, which refuses a key that stands twice and merges without end."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Called for each mapping before it is built; of a key that stands twice YAML would keep the last."""
        seen = self.__dict__.setdefault("flat", set())
        if id(node) in seen:
            return
        seen.add(id(node))
        names: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in names:
                    raise _refused(key, f"duplicate key {key.value}")
                if key.tag not in _KEY_TAGS:
                    raise _refused(key, f"found the key {key.value}, which is no text to YAML; quote it")
                names.add(key.value)
        super().flatten_mapping(node)
        if len(node.value) > _MOST_NODES:
            raise _refused(node, "merges without end")


def _refused(node: yaml.Node, what: str) -> yaml.YAMLError:
    """What is wrong with a node, with its line."""
    return yaml.constructor.ConstructorError(None, None, what, node.start_mark)


def _of_tag(tag: str, pattern: re.Pattern[str]) -> None:
    """Lets a tag be read where its text is written as it would be without the tag: never in base 60 or base 8."""
    build = Loader.yaml_constructors[tag]

    def construct(loader: Any, node: Any) -> Any:
        text = loader.construct_scalar(node)
        if not pattern.fullmatch(text):
            raise _refused(node, f"found {text[:60]!r}, which is no {tag.removeprefix(_TAG)}")
        try:
            return build(loader, node)
        except ValueError as error:
            raise _refused(node, f"found {text[:60]!r}: {error}") from error

    Loader.add_constructor(tag, construct)


def _unread(_: Any, node: yaml.Node) -> Any:
    raise _refused(node, f"the tag {node.tag.replace(_TAG, '!!')[:60]} is not read here; write a text, in quotes")


_WHOLE: Final = re.compile(r"^(?:[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x_*[0-9a-fA-F][0-9a-fA-F_]*|[-+]?0b_*[01][01_]*)$")
_TAG: Final = "tag:yaml.org,2002:"
_KEY_TAGS: Final = frozenset({f"{_TAG}str", f"{_TAG}merge"})
_OURS: Final = frozenset({f"{_TAG}timestamp", f"{_TAG}int", f"{_TAG}float"})
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _OURS]
    for first, resolvers in Loader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(f"{_TAG}int", _WHOLE, list("-+0123456789"))
Loader.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+0123456789."))
_of_tag(f"{_TAG}int", _WHOLE)
_of_tag(f"{_TAG}float", re.compile(f"{_FLOAT.pattern}|[-+]?[0-9]+", re.VERBOSE))
_of_tag(f"{_TAG}bool", re.compile("yes|no|on|off|true|false", re.IGNORECASE))
Loader.add_constructor(None, _unread)
for _name in ("binary", "omap", "pairs", "set", "timestamp"):
    Loader.add_constructor(f"{_TAG}{_name}", _unread)


def read_mapping(file: Path, *, conf: bool = True) -> dict[str, Any]:
    """The values of a YAML file, references resolved.

    Args:
        file: Any file of a project.
        conf: True for a file of `conf/`, which alone reads the environment.

    Raises:
        SpecError: The file cannot be read, is not YAML, or is no mapping.
    """
    return parse_mapping(file, read_text(file), conf=conf)


def read_text(file: Path) -> str:
    """The text of a file.

    Raises:
        SpecError: It is a folder, cannot be read, is not UTF-8, or is larger than any spec.
    """
    try:
        if file.is_dir():
            raise SpecError(f"{file} is a folder", expected="a YAML file")
        if not file.is_file():
            what = "no such file" if not os.path.lexists(file) else "a link that leads to no file, or no regular file"
            raise SpecError(f"{file}: {what}", expected="a YAML file")
        if file.stat().st_size > _MOST_BYTES:
            raise SpecError(f"{file} has more than {_MOST_BYTES} bytes", expected="a smaller YAML file")
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(
            f"{file}: byte 0x{error.object[error.start]:02x} at {error.start} is not UTF-8", expected="readable YAML"
        ) from error
    except (OSError, ValueError) as error:
        raise SpecError(f"{file}: {error}", expected="readable YAML") from error


def parse_mapping(file: Path, text: str, *, conf: bool = True) -> dict[str, Any]:
    """The values of a file's text; each call is one parse, and the log counts them.

    Raises:
        SpecError: The text is not YAML, is no mapping, or has a reference that cannot be resolved.
    """
    log.debug("parsing %s", file)
    values = _loaded(text, str(file))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SpecError(f"{file}: found {_kind(values)}; expected a mapping of sections")
    _require_plain(values, str(file))
    if INTERPOLATION in text:
        values = resolved(values, file, conf=conf)
        _require_plain(values, str(file))
    return cast("dict[str, Any]", values)


def merged(base: dict[str, Any], layer: dict[str, Any], sets: Sequence[str]) -> dict[str, Any]:
    """The base values with a layer over them, and `key=value` texts over both; nothing is resolved any more.

    Raises:
        UsageError: A text without a value.
        SpecError: A text that is no key and value.
    """
    values = _over(base, layer)
    for text in sets:
        values = _over(values, _set(text))
    return values


def _set(text: str) -> dict[str, Any]:
    """The layer that a `--set` text lays over a spec."""
    path, equals, said = text.partition("=")
    if not equals or not path:
        raise UsageError(f"--set {text!r} has no value", expected=_SET_FORM)
    keys = path.strip().split(".")
    wrong = next((key for key in keys if not _KEY.fullmatch(key)), None)
    if wrong is not None or len(keys) > _DEEPEST:
        raise SpecError(f"--set {text!r}: {wrong!r} is no key" if wrong is not None else f"--set {text!r}: too deep",
                        expected=f"{_SET_FORM}; a list is given whole, [a, b]")  # fmt: skip
    try:
        value = _loaded(said, "")
        _require_plain(value, "")
        value = _without_references(value)
    except SpecError as error:
        found = error.found.lstrip(":").strip()
        raise SpecError(f"--set {text!r}: {found}", expected=_SET_FORM, remedy=error.remedy) from error
    for key in reversed(keys):
        value = {key: value}
    return cast("dict[str, Any]", value)


def _without_references(value: Any) -> Any:
    r"""What is given on a command line is literal; `\${` is `${` there too."""
    if isinstance(value, dict):
        return {key: _without_references(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_references(inner) for inner in value]
    if not isinstance(value, str):
        return value
    found = literal(value)
    if found is None:
        raise SpecError(f"{value!r} has a reference, which is resolved in files alone",
                        remedy="let the shell put the value in")  # fmt: skip
    return found


def _loaded(text: str, where: str) -> Any:
    """What a text of YAML says; whatever the parser raises becomes a SpecError with the line."""
    if text.count("[") + text.count("{") + 2 * max(map(len, text.splitlines()), default=0) > _SURELY_SHALLOW:
        _require_shallow(text, where)
    try:
        return yaml.load(text, Loader=Loader)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None and where else ""
        raise SpecError(f"{where}{line}: {_said(error)}", expected="valid YAML") from error
    except Exception as error:
        # A tag with a text that it cannot take, such as `!!int x`, is a ValueError, KeyError, AttributeError, ….
        raise SpecError(f"{where}: {' '.join(str(error).split())[:200]}", expected="valid YAML") from error


def _said(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or str(error)
    context = getattr(error, "context", None)
    return " ".join(f"{context or ''} {problem}".split())[:300]


def _require_shallow(text: str, where: str) -> None:
    """Reads the events alone, which takes no stack: libyaml would build a deep tree until the process ends."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=BASE_LOADER):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > _DEEPEST:
                    mark = event.start_mark
                    raise _too_deep(f"{where}:{mark.line + 1}" if mark is not None else where)
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
    except yaml.YAMLError:
        return  # said where it is loaded


def _too_deep(where: str) -> SpecError:
    return SpecError(f"{where}: nested deeper than {_DEEPEST}", expected="sections, lists and mappings in them")


def _require_plain(values: object, where: str) -> None:
    """Refuses what no section can hold: too much, too deep, keys that are no texts, bytes, sets, hidden characters."""
    waiting, seen = [(values, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    raise SpecError(f"{where}: found the key {key!r}", expected="keys that are texts; quote it")
            waiting.extend((inner, depth + 1) for inner in value.values())
        elif isinstance(value, list):
            waiting.extend((inner, depth + 1) for inner in value)
        else:
            _require_scalar(value, where)
        if depth > _DEEPEST:
            raise _too_deep(where)
        if seen > _MOST_NODES:
            raise SpecError(f"{where}: more than {_MOST_NODES} values, with what its aliases stand for")


def _require_scalar(value: object, where: str) -> None:
    if isinstance(value, str):
        if _UNWRITABLE.search(value):
            raise SpecError(f"{where}: the text {value[:60]!r} has a character that no table can hold")
    elif isinstance(value, int) and not isinstance(value, bool):
        if value.bit_length() > _MOST_BITS:
            raise SpecError(f"{where}: a whole number of more than {_MOST_BITS} bits")
    elif value is not None and not isinstance(value, bool | float):
        raise SpecError(f"{where}: found {_kind(value)}", expected="texts, numbers, truth values, lists and mappings")


def _kind(value: object) -> str:
    names = {list: "a list", dict: "a mapping", str: "a text", int: "a number", float: "a number"}
    return names.get(type(value), f"a {type(value).__name__}")


def _over(base: dict[str, Any], layer: dict[str, Any]) -> dict[str, Any]:
    """Merges a layer over values: mappings key by key; anything else, and a mapping of another `kind`, is replaced."""
    found = dict(base)
    for key, value in layer.items():
        below = found.get(key)
        if isinstance(below, dict) and isinstance(value, dict) and not _is_of_another_kind(below, value):
            found[key] = _over(below, value)
        else:
            found[key] = value
    return found


def _is_of_another_kind(below: dict[str, Any], value: dict[str, Any]) -> bool:
    """True where both say which of several forms they have, and not the same: the keys of one are none of the other."""
    return "kind" in below and "kind" in value and below["kind"] != value["kind"]
