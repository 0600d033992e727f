r"""Puts in what `${…}` in a file stands for: another key of the file, and in `conf/` a variable of the environment.

A text is resolved once. What was put in is literal, whatever stands in it, so the text of a variable can be nothing
else than a text. `\${` is a `${` that stands for nothing. In `conf/`, which is trusted, OmegaConf answers for
resolvers that are not known here.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INTERPOLATION: Final = "${"
_OURS: Final = "TALLYWRIGHT_"
"""Variables of ours: one that is empty counts as one that is not there, wherever it is read."""
_VARIABLE: Final = re.compile(r"oc\.env:([A-Za-z_][A-Za-z0-9_]*)(?:,(.*))?", re.DOTALL)
_PLAIN_DEFAULT: Final = re.compile(r"[./A-Za-z][A-Za-z0-9_./:-]*|[0-9]+|\"[^\"\\$]*\"|'[^'\\$]*'")
"""A default that is a text as it stands, or a text in quotes."""
_NO_TEXT: Final = frozenset({"null", "true", "false", "nan", "inf"})
"""Defaults that OmegaConf takes for something else."""
_KEY: Final = re.compile(r"(\.*)([^.\[\]{}$:,\s]+(?:\.[^.\[\]{}$:,\s]+|\[[0-9]{1,6}\])*)")
_PART: Final = re.compile(r"[^.\[\]]+")
_MOST_STEPS: Final = 100
_LONGEST: Final = 1_000_000


class _ForeignResolverError(Exception):
    """A reference that only OmegaConf can read."""


def resolved(values: dict[str, Any], file: Path, *, conf: bool) -> Any:
    """The values with every reference put in, once.

    Args:
        values: As parsed, at most as deep as a file may be.
        file: For messages.
        conf: True for a file of `conf/`, which alone reads the environment.

    Raises:
        SpecError: A reference to what there is not, to itself, or to what the file may not read.
    """
    try:
        return _Resolver(values, file, conf=conf).all()
    except _ForeignResolverError as error:
        return _by_omegaconf(values, file, str(error))


def literal(text: str) -> str | None:
    r"""The text with each `\${` as `${`; None where a reference stands in it."""
    if INTERPOLATION not in text:
        return text
    parts = list(_parts(text))
    return None if any(reference for _, reference in parts) else "".join(plain for plain, _ in parts)


class _Resolver:
    def __init__(self, values: dict[str, Any], file: Path, *, conf: bool) -> None:
        self._values = values
        self._file = file
        self._conf = conf
        self._known: dict[tuple[Any, ...], Any] = {}
        self._waiting: list[tuple[Any, ...]] = []

    def all(self) -> Any:
        return self._value((), self._values)

    def _value(self, path: tuple[Any, ...], value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._at((*path, key), inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._at((*path, index), inner) for index, inner in enumerate(value)]
        return self._text(path, value) if isinstance(value, str) and INTERPOLATION in value else value

    def _at(self, path: tuple[Any, ...], value: Any) -> Any:
        if path not in self._known:
            if path in self._waiting:
                raise self._bad(path, "refers to itself")
            if len(self._waiting) > _MOST_STEPS:
                raise self._bad(path, f"refers to a key that refers to a key, more than {_MOST_STEPS} times")
            self._waiting.append(path)
            self._known[path] = self._value(path, value)
            self._waiting.pop()
        return self._known[path]

    def _text(self, path: tuple[Any, ...], text: str) -> Any:
        parts = [(plain, reference, self._referred(path, reference) if reference else None)
                 for plain, reference in _parts(text)]  # fmt: skip
        if len(parts) == 1 and parts[0][1] and not parts[0][0]:
            return parts[0][2]
        if any(isinstance(value, dict | list) for _, _, value in parts):
            raise self._bad(path, f"{text!r} puts a section into a text")
        found = "".join(plain + (str(value) if reference else "") for plain, reference, value in parts)
        if len(found) > _LONGEST:
            raise self._bad(path, f"is a text of more than {_LONGEST} characters")
        return found

    def _referred(self, path: tuple[Any, ...], reference: str) -> Any:
        body = reference[2:-1].strip()
        variable = _VARIABLE.fullmatch(body)
        if variable is not None and self._conf:
            return self._variable(path, reference, variable)
        key = _KEY.fullmatch(body)
        if key is not None:
            return self._key(path, reference, key)
        if self._conf:
            raise _ForeignResolverError(".".join(map(str, path)))
        raise self._not_here(path, reference)

    def _variable(self, path: tuple[Any, ...], reference: str, variable: re.Match[str]) -> str:
        name, default = variable[1], variable[2]
        found = os.environ.get(name)
        if found is not None and (found or not name.startswith(_OURS)):
            return found
        if default is None:
            raise SpecError(
                f"{self._file}: {'.'.join(map(str, path))}: {reference}: the environment has no variable {name}",
                expected=f"{name} in the environment, or a default, `${{oc.env:{name},…}}`",
            )
        default = default.strip()
        if not _PLAIN_DEFAULT.fullmatch(default) or default.lower() in _NO_TEXT:
            raise _ForeignResolverError(".".join(map(str, path)))
        return default[1:-1] if default[0] in "\"'" else default

    def _key(self, path: tuple[Any, ...], reference: str, key: re.Match[str]) -> Any:
        dots, name = len(key[1]), key[2]
        if dots > len(path):
            raise self._bad(path, f"{reference}: no section is so far above")
        at: tuple[Any, ...] = path[: len(path) - dots] if dots else ()
        value: Any = self._values
        for step in at:
            value = value[step]
        for part in _PART.findall(name):
            if isinstance(value, str) and INTERPOLATION in value:
                value = self._at(at, value)
            step = int(part) if isinstance(value, list) and part.isdecimal() and part.isascii() else part
            try:
                value = value[step] if isinstance(value, dict | list) else _nothing()
            except (LookupError, TypeError) as error:
                raise self._bad(path, f"{reference}: there is no key {name} in this file") from error
            at = (*at, step)
        return self._at(at, value)

    def _not_here(self, path: tuple[Any, ...], reference: str) -> SpecError:
        key = ".".join(map(str, path))
        if reference == INTERPOLATION:
            return self._bad(path, r"has a `${` that is not closed; a `${` that stands for itself is written `\${`")
        return SpecError(
            f"{self._file}: {key}: {reference} is resolved in conf/ alone",
            expected=r"a model.yaml with references to its own keys, `${section.key}`, at most; `\${` is a plain `${`",
            remedy=f"give the key in the overlay, below models.{self._file.parent.name}: `{key}: {reference}`",
        )

    def _bad(self, path: tuple[Any, ...], what: str) -> SpecError:
        return SpecError(
            f"{self._file}: {'.'.join(map(str, path))}: {what}",
            expected=r"a reference to a key of this file, `${section.key}`; a plain `${` is written `\${`",
        )


def _nothing() -> Any:
    raise LookupError


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """What stands before each reference, and the reference with its braces; the rest of the text without one.

    One that is never closed, or is nested, comes as a bare `${` (or with what is inside it) and is read nowhere here.
    """
    plain, at = "", 0
    while True:
        begin = text.find(INTERPOLATION, at)
        if begin < 0:
            if plain or text[at:]:
                yield plain + text[at:], ""
            return
        before = text[at:begin]
        slashes = len(before) - len(before.rstrip("\\"))
        plain += before[: len(before) - slashes] + "\\" * (slashes // 2)
        if slashes % 2:
            plain, at = plain + INTERPOLATION, begin + 2
            continue
        end = _closed(text, begin)
        yield plain, text[begin:end]
        plain, at = "", end


def _closed(text: str, begin: int) -> int:
    """Where the braces that open at `begin` are closed; right behind `${` where they are not."""
    depth = 0
    for place in range(begin + 1, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return place + 1
    return begin + 2


def _by_omegaconf(values: dict[str, Any], file: Path, key: str) -> Any:
    from omegaconf import OmegaConf

    try:
        return OmegaConf.to_container(OmegaConf.create(values), resolve=True)
    except Exception as error:
        raise SpecError(
            f"{file}: {key}: {' '.join(str(error).split())[:300]}",
            expected="a reference that OmegaConf can resolve",
        ) from error
