"""Ways to break one model of a project: changes of its spec, and functions that fail for it alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from spec_mutations import mistyped, mutated, written

from tallywright.errors import InputError, SpecError, StorageError

EXCEPTIONS: tuple[Callable[[], Exception], ...] = (
    lambda: ValueError("tag cannot be longer"),
    lambda: KeyError("x"),
    lambda: OverflowError("date value out of range"),
    lambda: RecursionError("maximum recursion depth exceeded"),
    lambda: MemoryError("Unable to allocate 7.11 PiB"),
    lambda: ModuleNotFoundError("No module named 'airflow.providers.apache'"),
    lambda: TypeError("Cannot merge incompatible container types"),
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    lambda: OSError(5, "Input/output error"),
    AssertionError,
    StopIteration,
    lambda: StorageError("the file is gone"),
    lambda: InputError("rows"),
    lambda: SpecError("one problem"),
)
"""What a function may raise for a model, of our classes and of others."""


def mutations(spec: Path, count: int, seed: int) -> Iterator[str]:
    """Texts for a spec in which something was changed, at random."""
    values = yaml.safe_load(spec.read_text())
    more = {"maintenance": {"cron": "0 2 * * 0"}, "registry": {"approval": "person", "approvers": ["a"]},
            "schedule": {"after": "x__y", "timezone": "UTC", "catch_up": 3, "closed": {"weekdays": ["sunday"]}},
            "tags": ["a"], "owner": {"name": "a"}, "scoring": {"engine": "spark"}}  # fmt: skip
    for number in range(count):
        chance = random.Random(f"{seed}/{number}")
        text = written(mutated(values, chance, others=(more, more)))
        yield mistyped(text, chance) if chance.random() < 0.2 else text


def raising(function: Callable[..., Any], make: Callable[[], Exception], broken: str) -> Callable[..., Any]:
    """The function, which fails whenever that model is among its arguments."""

    def failing(*words: Any, **named: Any) -> Any:
        given = [getattr(word, "spec", word) for word in (*words, *named.values())]
        about = [str(word) if isinstance(word, str | Path) else getattr(word, "name", "") for word in given]
        if any(name == broken or f"/{broken}/" in str(name) for name in about):
            raise make()
        return function(*words, **named)

    return failing
