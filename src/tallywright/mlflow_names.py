"""Names of metrics in MLflow that hold values of the data: one encoding, injective and reversible.

MLflow takes letters, digits, `_ - . / :` and blanks, at most 250 characters, and reads `/` as a path. So a value is
written like a percent-encoded one, with `:` for `%`: `Food & Drink` becomes `Food :26 Drink`. Three forms begin with a
`:` that no encoded byte follows: the empty text is `:`, a null is `:null`, and a value whose encoding is longer than 80
characters is its beginning and `:sha256:` with the digest of its UTF-8 bytes; the text itself then stands in the run's
artifact `metric_names.json`.
"""

from __future__ import annotations

import hashlib
import re
import string
from typing import Final

from tallywright.errors import UsageError

LONGEST: Final = 80
"""Characters of an encoded value: `slice/`, a column's name (127) and the metric's fit beside it into 250."""
ARTIFACT: Final = "metric_names.json"
SLICE: Final = "slice "
"""Begins the name of a slice in an evaluation: `slice region=north`, or `slice region is null`."""
SHORTENED: Final = ":sha256:"
"""Stands in an encoded value that was too long, before its digest."""
_IS_NULL: Final = " is null"
_EMPTY: Final = ":"
_NULL: Final = ":null"
_SHOWN: Final = 8
_PLAIN: Final = frozenset(f"{string.ascii_letters}{string.digits}_-. ".encode())
_NO_DOTS: Final = _PLAIN - {ord(".")}
_BYTE: Final = re.compile(rb":([0-9A-F]{2})")


def slice_name(column: str, value: object) -> str:
    """The name of a slice in an evaluation; a null has a name that no text has."""
    return f"{SLICE}{column}{_IS_NULL}" if value is None else f"{SLICE}{column}={value}"


def metric_name(subject: str, metric: str) -> str:
    """The name in MLflow of a metric of an evaluation.

    Args:
        subject: `model`, a baseline, `validation`, or the name of a slice.
        metric: The metric's own name, such as `roc_auc`.
    """
    if not subject.startswith(SLICE):
        return f"{subject}/{metric}"
    column, is_text, value = subject.removeprefix(SLICE).partition("=")
    if is_text:
        return f"slice/{column}/{encode(value)}/{metric}"
    return f"slice/{column.removesuffix(_IS_NULL)}/{encode(None)}/{metric}"


def encode(value: str | None) -> str:
    """A value as a part of a name: at most 80 characters, equal only for equal values.

    Examples:
        >>> encode("a/b=c")
        'a:2Fb:3Dc'
    """
    if value is None:
        return _NULL
    # a lone surrogate is no character, but may stand in a text
    content = value.encode("utf-8", "surrogatepass")
    plain = _NO_DOTS if not value.strip(".") else _PLAIN  # `.` and `..` are steps of a path
    whole = "".join(chr(byte) if byte in plain else f":{byte:02X}" for byte in content)
    if len(whole) <= LONGEST:
        return whole or _EMPTY
    shown = re.sub(r":[0-9A-F]?$", "", whole[:_SHOWN])
    return f"{shown}{SHORTENED}{hashlib.sha256(content).hexdigest()}"


def decoded(text: str) -> str:
    """The value that `encode` wrote, for people; one that was too long as it stands."""
    try:
        return decode(text) or text
    except UsageError:
        return text


def decode(text: str) -> str | None:
    """The value that `encode` wrote.

    Raises:
        UsageError: A digest: the value stands in the artifact `metric_names.json` of the run; or no encoded value.
    """
    if text in (_EMPTY, _NULL):
        return "" if text == _EMPTY else None
    found = _BYTE.sub(lambda match: bytes([int(match[1], 16)]), text.encode())
    try:
        value = found.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        value = ""
    if encode(value) != text:
        raise UsageError(
            f"{text!r} cannot be decoded by itself",
            expected="an encoded value of at most 80 characters",
            remedy=f"the run's artifact {ARTIFACT} maps each such name to its value",
        )
    return value
