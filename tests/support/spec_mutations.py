"""Mutations of specs, overlays and `--set` texts: what an editor, a merge, a slip or malice may leave in a file."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any, Final

import yaml

HOSTILE: Final[tuple[Any, ...]] = (
    None, True, False, -1, 0, 1, 2, 7, 59, 60, 840, 10**6, 10**9, 10**15, 10**30, 2**63 - 1, 2**63, -(10**30),
    0.0, -0.5, 0.5, 1.5, 1e308, 1e-320, float("nan"), float("inf"), float("-inf"),
    "", " ", "\t", "???", "a", "A", "a" * 101, "a" * 5000, "é", "赤", "\ud7ff", "\x7f", "a\nb", "null", "~", "true",
    "../x", "../../../etc/passwd", "/etc/passwd", "~/x", "~nobody-here/x", "a//b", ".", "..", "*", "**/*", "[", "a[",
    "ftp://h/x", "s3://", "s3://b/l", "file:///x", "airflow://x", "http://[", "x-team://a b", "sqlite:///",
    "0 4 * * *", "a b c d e", "0 0 31 2 *", "0 0 L * *", "* * * * *", "5 * * * *", "0 4 1 * *", "0 4 * * 7", "@daily",
    "0 0 1-40 * *", "*/0 * * * *", "0 0 * * MON#9", "h h h h h", "٣ 4 * * *",
    "14:00", "24:00", "06:00", "06:00Z", "23:59", "00:00", "1:30", "2025-01-01", "2025-02-30", "0001-01-01",
    "9999-12-31", "1900-01-01", "2199-12-31", "2025-01-01T00:00:00", "20250101", "UTC", "Europe/Berlin",
    "Asia/Kathmandu",
    "Australia/Lord_Howe", "America", "../UTC", "/etc/localtime", "hour", "day", "week", "month", "business-day",
    "VARCHAR", "DOUBLE", "DOUBEL", "TIMESTAMP", "DATE", "BOOLEAN", "DECIMAL(38,38)", "DECIMAL(0,0)", "INTEGER[]",
    "accepted", "score_date", "Probability", "label_time", "order_id", "roc_auc", "rmse", "auc", "binary", "multiclass",
    "regression", "challenger", "pinned:3", "pinned:9999999999999999", "${x}", "${name}", "${oc.env:HOME}", "\\${5}",
    "${", "$", "{", "\\",
    [], [[]], [None], ["a"], ["a", "a"], [1, 2], ["monday"], list(range(24)), ["saturday", "sunday"],
    ["monday", "tuesday", "wednesday", "thursday", "friday"], {}, {"a": 1}, {"a": {"b": {"c": []}}},
    {"min": 0.9, "max": 0.1}, {"min": 5}, {"max": float("nan")}, {"roc_auc": {"min": 0.5}}, {"rmse": {"max": -1}},
    {"path": "x"}, {"path": "x", "package": "a.b"}, {"model": "constant", "constant": 0.5, "covers": ["output"]},
    {"model": "challenger", "share": 0.1},
)  # fmt: skip
"""What is put in the place of a value."""
TEXTS: Final = (
    "[" * 60, "{" * 60, "[" * 1000 + "]" * 1000, "\x00", "\t", "\ufeff", "&a *a", "<<: *a", "!!int x",
    "!!python/name:x",
    "!!binary aGk=", "? ", "---\n", "...\n", "%YAML 9\n", "'", '"', "|", ">",
    "#", ": ", "- ", "\\", "${", "}", "\r", "\x85",
    "\u2028", "*x", "&x", "@", "`", ",", "]", "  ", "\n", "0o7", "017", "1:30", "1e", ".nan",
)  # fmt: skip
"""What is typed into a file."""


def places(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values of a tree."""
    if path:
        yield path
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def at(values: Any, path: tuple[Any, ...]) -> Any:
    """The value at a path."""
    for step in path:
        values = values[step]
    return values


def mutated(
    values: dict[str, Any], chance: random.Random, *, others: tuple[dict[str, Any], ...] = ()
) -> dict[str, Any]:
    """The values with one to three changes: replaced, taken out, doubled, moved, renamed, or a key of others."""
    found = copy.deepcopy(values)
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        paths = list(places(found))
        if not paths:
            break
        path = chance.choice(paths)
        parent, key = at(found, path[:-1]), path[-1]
        kind = chance.randrange(8)
        if kind <= 3:
            parent[key] = copy.deepcopy(chance.choice(HOSTILE))
        elif kind == 4:
            del parent[key]
        elif kind == 5 and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        elif kind == 5:
            parent[f"{key}s" if chance.random() < 0.5 else str(chance.choice(HOSTILE))[:80]] = parent.pop(key)
        elif kind == 6:
            parent[key] = copy.deepcopy(at(found, chance.choice(paths[: len(paths)]))) if chance.random() < 0.5 else 3
        elif others:
            more = chance.choice(others)
            foreign = chance.choice([one for one in places(more) if all(isinstance(step, str) for step in one)])
            _put(found, foreign, copy.deepcopy(chance.choice([at(more, foreign), chance.choice(HOSTILE)])))
    return found


def _put(values: Any, path: tuple[Any, ...], value: Any) -> None:
    for step in path[:-1]:
        inner = values.get(step)
        if not isinstance(inner, dict):
            inner = values[step] = {}
        values = inner
    values[path[-1]] = value


def mistyped(text: str, chance: random.Random) -> str:
    """The text with one to three slips of the hand."""
    for _ in range(chance.choice([1, 1, 2, 3])):
        place, kind = chance.randrange(len(text) + 1), chance.randrange(4)
        if kind <= 1:
            text = text[:place] + chance.choice(TEXTS) + text[place:]
        elif kind == 2:
            text = text[:place] + text[place + chance.randrange(1, 20) :]
        else:
            lines = text.splitlines(keepends=True)
            line = chance.randrange(len(lines)) if lines else 0
            text = "".join([*lines[:line], *lines[line : line + 1] * chance.choice([0, 2]), *lines[line + 1 :]])
    return text


def written(values: Any) -> str:
    """The YAML of values, as a person might write it."""
    return str(
        yaml.dump(values, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), allow_unicode=True, sort_keys=False)
    )


def set_text(values: dict[str, Any], chance: random.Random) -> str:
    """A `--set` text about one of the values."""
    path = ".".join(str(step) for step in chance.choice(list(places(values))))
    value = chance.choice([*TEXTS, *map(str, HOSTILE)])
    return chance.choice(
        [f"{path}={value}", f"{path}={value}", f"environment.{path}={value}", f"{path}[0]={value}", value]
    )
