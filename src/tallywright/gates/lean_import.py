"""Imports a large library without its unused parts: optional packages seem absent, others are loaded on first use."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from tallywright.memory import gc_paused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.machinery import ModuleSpec

_LATE: Final = "__late_loader__"
"""Where a module that is not executed yet keeps its loader."""


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
            spec.loader = _LateLoader(spec.loader)
        return spec


class _LateLoader(Loader):
    """Leaves a module unexecuted until an attribute of it is asked for.

    As `importlib.util.LazyLoader`, which before Python 3.12 gives a second thread a module that is half executed, and
    after an import that failed gives everybody an empty one.
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._lock = threading.RLock()
        self._is_executing = False

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__class__ = _LateModule
        module.__dict__[_LATE] = self
        module.__dict__.pop("__path__", None)  # so that the import of a submodule asks for it, and executes this first

    def execute(self, module: ModuleType) -> None:
        """Executes the module in the first thread that asks; others wait for it, and its own code does not."""
        with self._lock:
            if self._is_executing or module.__class__ is not _LateModule:
                return
            self._is_executing = True
            spec = module.__spec__
            assert spec is not None  # noqa: S101 - the finder made it
            if spec.submodule_search_locations is not None:
                module.__path__ = spec.submodule_search_locations
            try:
                self._loader.exec_module(module)
            except BaseException:
                self.exec_module(module)  # whoever asks next meets the same error
                raise
            finally:
                self._is_executing = False
            spec.loader = module.__loader__ = self._loader
            module.__class__ = ModuleType  # type: ignore[assignment] # narrowed by the test above
            del module.__dict__[_LATE]


class _LateModule(ModuleType):
    """A module before its code has run."""

    def __getattr__(self, name: str) -> Any:
        loader = self.__dict__.get(_LATE)
        if loader is not None:
            loader.execute(self)
        return ModuleType.__getattribute__(self, name)
