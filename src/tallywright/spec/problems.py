"""Problems of specs and overlays: where each stands (file and line, or `--set`), what was found, the nearest match."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import yaml

from tallywright.errors import SpecError, SpecProblem, TallyError, closest, did_you_mean
from tallywright.spec.base import Section
from tallywright.spec.environment import Environment
from tallywright.spec.estimators import kind_at, plain_place
from tallywright.spec.yaml_files import BASE_LOADER

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from pydantic_core import ErrorDetails

SET: Final = "--set"
Place = tuple[int | str, ...]
"""The keys that lead to a value."""
_LONGEST: Final = 100
_MOST_TOLD: Final = 200
"""Each is looked up in the file, which may hold as many mistakes as it has values."""
_WORDS: Final = {
    "tuple_type": "a list is needed",
    "list_type": "a list is needed",
    "dict_type": "a mapping is needed",
    "model_type": "a mapping is needed",
    "model_attributes_type": "a mapping is needed",
    "finite_number": "must be a finite number",
}
_BOUNDS: Final = {
    ("less_than_equal", "le"): "must be at most",
    ("less_than", "lt"): "must be less than",
    ("greater_than_equal", "ge"): "must be at least",
    ("greater_than", "gt"): "must be more than",
}
_PATH: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*")
"""Begins the message about a reference."""
_TOLD: Final = re.compile(r"(?P<file>[^\n:]{1,1000}?)(?:(?::| line )(?P<line>[0-9]{1,9}))?: (?P<text>.+)", re.DOTALL)
"""A sentence about a file, with or without its line."""
_MOST_WORDS: Final = 8
"""Of a sentence, in which the name of a file is looked for."""
_NEAREST: Final = re.compile(r"\(did you mean '([^'\n]*)'\?\)")
_SAYS_IT: Final = ("missing", "empty")
"""Begins a message that needs no value beside it."""
_SHAPES: Final = frozenset(_WORDS) - {"finite_number"}


@dataclass(frozen=True, slots=True)
class Mismatch:
    """What a check of several keys found.

    Attributes:
        at: The path of the value that is to be changed.
        text: A sentence that names it.
        nearest: The nearest match; empty where there is none.
        uses: The other paths that it is about: it is not said when one of these is wrong itself.
    """

    at: Place
    text: str
    nearest: str = ""
    uses: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class Layers:
    """Where values come from, the last one first: `--set` texts, the overlay's layer, the file.

    Attributes:
        file: The file whose values are the base.
        sets: The `--set` texts over it.
        overlay: The file with a layer over `file`, if there is one.
        prefix: The path of the layer in it.
        layer: The layer.
        shown: What a `--set` text of this source begins with, as it was typed.
    """

    file: Path
    sets: Sequence[str] = ()
    overlay: Path | None = None
    prefix: Place = ()
    layer: Any = None
    shown: str = ""

    def problem(self, at: Place, text: str, *, found: str = "", nearest: str = "") -> SpecProblem:
        """The problem of a value, blamed on what gave it."""
        path = ".".join(map(str, at))
        for given in reversed(self.sets):
            key = key_of(given)
            if key == path or path.startswith(f"{key}."):
                return SpecProblem(f"{SET} {self.shown}{given}", None, path, text, found, nearest)
        near = [given for given in self.sets if not path or given.startswith(f"{path}.")]
        with_sets = f" with {', '.join(f'{SET} {self.shown}{given}' for given in near)}" if near else ""
        if self.overlay is not None and _holds(self.layer, at):
            where = (*self.prefix, *at)
            stands = f"{'.'.join(map(str, self.prefix))}."
            told = text if not path else text.replace(path, f"{stands}{path}", 1)
            line = line_of(self.overlay, where)
            return SpecProblem(f"{self.overlay}{with_sets}", line, f"{stands}{path}", told, found, nearest)
        return SpecProblem(f"{self.file}{with_sets}", line_of(self.file, at), path, text, found, nearest)

    def of_mismatch(self, mismatch: Mismatch) -> SpecProblem:
        """The problem of a mismatch."""
        return self.problem(mismatch.at, mismatch.text, nearest=mismatch.nearest)


def key_of(given: str) -> str:
    """The key of a `--set` text."""
    return given.partition("=")[0].strip()


def _holds(values: Any, at: Place) -> bool:
    """True when a layer says something at a path."""
    for step in at:
        if isinstance(values, dict) and step in values:
            values = values[step]
        else:
            return isinstance(step, int) and not isinstance(values, dict)
    return bool(at)


def line_of(file: Path, at: Place) -> int | None:
    """The line of a value in a YAML file, or of the nearest section around it; None where there is no such file."""
    try:
        node = _tree(file.read_text(encoding="utf-8-sig"))
    except Exception:  # noqa: BLE001 - what cannot be read has a problem of its own
        return None
    line = 1
    for step in at:
        if isinstance(node, yaml.MappingNode):
            pair = _pairs(node).get(str(step))
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _pairs(node: yaml.MappingNode) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    """The keys of a mapping, each with its node and that of its value; looked at once for all problems of a file."""
    made: dict[str, tuple[yaml.Node, yaml.Node]] | None = node.__dict__.get("pairs")
    if made is None:
        made = {pair[0].value: pair for pair in reversed(node.value) if isinstance(pair[0], yaml.ScalarNode)}
        node.__dict__["pairs"] = made
    return made


@lru_cache(maxsize=4)
def _tree(text: str) -> yaml.Node | None:
    """The nodes of a text, which know their lines; a text with many problems is read once for all of them."""
    return yaml.compose(text, Loader=BASE_LOADER)


def explained(cls: type[Section], details: Iterable[ErrorDetails], source: Layers) -> list[SpecProblem]:
    """A problem for each mistake, but not without end; a validator of a whole section gives a text of several lines."""
    found = [*details]
    problems = [problem for detail in found[:_MOST_TOLD] for problem in _explain(cls, detail, source)]
    if len(found) > _MOST_TOLD:
        problems.append(source.problem((), f"{len(found) - _MOST_TOLD} more problems of these kinds"))
    return problems


def _explain(cls: type[Section], detail: ErrorDetails, source: Layers) -> list[SpecProblem]:
    at = plain_place(detail["loc"])
    path = ".".join(map(str, at)) or "(whole file)"
    found = detail["input"]
    if detail["type"] == "extra_forbidden":
        allowed = _allowed_keys(cls, detail["loc"][:-1])
        key = str(at[-1])
        text = f"{path}: unknown key{did_you_mean(key, allowed)}; allowed here: {', '.join(allowed)}"
        return [source.problem(at, text, found=key, nearest=closest(key, allowed))]
    if detail["type"] == "missing":
        return [source.problem(at, f"{path}: missing; it has no default, please give it")]
    message = _message(detail)
    shown = "" if message.startswith(_SAYS_IT) else _shown(cls, at, found, detail["type"])
    return [
        source.problem(at, f"{path}: {f'found {shown}; ' if shown else ''}{line}", found=shown)
        for line in message.splitlines()
    ]


def _message(detail: ErrorDetails) -> str:
    kind, limits = detail["type"], detail.get("ctx", {})
    for bound, words in _BOUNDS.items():
        if kind == bound[0]:
            return f"{words} {limits[bound[1]]}"
    return _WORDS.get(kind, detail["msg"].removeprefix("Value error, "))


def _shown(cls: type[Section], at: Place, found: Any, kind: str) -> str:
    """The value as it is said; empty where it says nothing, or may be a secret."""
    if isinstance(found, dict | list | tuple):
        whole = "a mapping" if isinstance(found, dict) else "a list"
        return whole if kind in _SHAPES or (kind == "string_type") else ""
    if issubclass(cls, Environment) and at[:1] != ("engine",):
        # It may be a secret, in its own place or in a wrong one.
        return ("a text" if isinstance(found, str) else "a number") if kind in _SHAPES or kind == "string_type" else ""
    if issubclass(cls, Environment) and (at[:3] == ("engine", "spark", "conf") or "options" in at):
        return ""
    text = repr(found)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _allowed_keys(cls: type[Section], loc: Place) -> list[str]:
    """The keys of the section at `loc`; dictionary levels (such as `data.sources.<name>`) are walked through."""
    current: Any = cls
    estimator = kind_at(loc)
    if estimator is not None:
        return sorted(estimator.model_fields)
    for part in loc:
        field = getattr(current, "model_fields", {}).get(part) if isinstance(current, type) else None
        annotation = field.annotation if field is not None else current
        current = section_in(annotation)
        if current is None:
            return []
    return sorted(current.model_fields)


def section_in(annotation: Any) -> type[Section] | None:
    """The section in a field's annotation, through unions and containers; None when there is none."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = section_in(inner)
        if found is not None:
            return found
    return None


def refusal(problems: Sequence[SpecProblem], remedy: str) -> SpecError:
    """A SpecError that lists all problems."""
    return SpecError(
        f"{len(problems)} problem{'s' if len(problems) != 1 else ''} in the spec:\n"
        + "\n".join(f"  - {problem}" for problem in problems),
        remedy=remedy,
        problems=tuple(problems),
    )


def problems_of(error: Exception, file: Path) -> list[SpecProblem]:
    """The problems that an error is about, of whatever class: each by itself where it lists them."""
    if isinstance(error, SpecError) and error.problems:
        return list(error.problems)
    if isinstance(error, TallyError):
        found = error.found.removeprefix(str(file)).lstrip(":")
        line, colon, rest = found.partition(":")
        text = f"{rest.strip() if colon and line.isdecimal() else found.strip()}"
        told = text + (f"; expected {error.expected}" if error.expected and "expected" not in text else "")
        told += f"; to do: {error.remedy}" if error.remedy else ""
        if colon and line.isdecimal():
            return [SpecProblem(str(file), int(line), "", told)]
        path = line.strip() if colon and isinstance(error, SpecError) and _PATH.fullmatch(line.strip()) else ""
        at = tuple(int(step) if step.isdecimal() else step for step in path.split(".")) if path else ()
        return [SpecProblem(str(file), line_of(file, at) if at else None, path, told)]
    return [SpecProblem(str(file), None, "", f"unexpected {type(error).__name__}: {str(error)[:300]}")]


def told(text: str, file: Path, folders: Iterable[Path]) -> SpecProblem:
    """The problem that a sentence tells, blamed on the file that it begins with; else on the spec.

    Args:
        text: Such as `sql/labels.sql line 7: no column 'weigt' (did you mean 'weight'?)`.
        file: The spec.
        folders: Those below which files are named.
    """
    folders = tuple(folders)
    found = _TOLD.fullmatch(text)
    place = None if found is None else _file_in(folders, found["file"])
    if found is None or place is None:
        words = text.removeprefix("data.sources.").split(" ", _MOST_WORDS)
        named = (_file_in(folders, " ".join(words[:end])) for end in range(len(words) - 1, 0, -1))
        return SpecProblem(str(next(filter(None, named), file)), None, "", text)
    line, nearest = found["line"], _NEAREST.search(found["text"])
    return SpecProblem(
        str(place), int(line) if line else None, "", found["text"], nearest=nearest[1] if nearest else ""
    )


def _file_in(folders: Sequence[Path], name: str) -> Path | None:
    """The file of that name in the first of the folders that has it."""
    try:
        return next((path for folder in folders if (path := folder / name).is_file()), None)
    except (OSError, ValueError):  # a text that is no path
        return None


def remedy_of(problems: Sequence[SpecProblem], command: str) -> str:
    """What to correct: the file, the `--set` texts, or both."""
    typed = [SET in problem.where for problem in problems]
    what = SET if all(problem.where.startswith(f"{SET} ") for problem in problems) else "the file"
    return f"correct {what}{f' or {SET}' if any(typed) and what != SET else ''}, then {command}"
