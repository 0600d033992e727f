"""Imports a large library without its unused parts: optional packages seem absent, others are loaded on first use.

Both are ordinary to the library: an optional package may not be installed, and lazy modules are the standard library's.
"""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.util import LazyLoader, find_spec
from typing import TYPE_CHECKING

from tallywright.collector import gc_paused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.machinery import ModuleSpec


@contextmanager
def lean_import(absent: frozenset[str], late: frozenset[str]) -> Iterator[None]:
    """Applies to imports by this thread; modules that are imported already stay as they are.

    Args:
        absent: Packages that seem not to be installed.
        late: Modules that are executed when an attribute of theirs is first asked for.
    """
    finder = _LeanFinder(absent, late)
    sys.meta_path.insert(0, finder)
    try:
        with gc_paused():
            yield
    finally:
        sys.meta_path.remove(finder)


class _LeanFinder(MetaPathFinder):
    """A finder before all others that hides or delays modules for the thread that made it."""

    def __init__(self, absent: frozenset[str], late: frozenset[str]) -> None:
        self._absent, self._late = absent, set(late)
        self._thread = threading.get_ident()

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:  # noqa: ARG002 - theirs
        if threading.get_ident() != self._thread:
            return None
        if fullname in self._absent:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        if fullname not in self._late:
            return None
        self._late.discard(fullname)  # the question is put again to all finders, this one too
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec
