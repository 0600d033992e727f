"""Imports that leave parts out: absent packages, late modules, threads, failures."""

from __future__ import annotations

import importlib
import sys
import threading
from itertools import count
from pathlib import Path
from types import ModuleType

import pytest

from tallywright.gates.lean_import import lean_import

NUMBERS = count()
SLOW = "import time\nbefore = 1\ntime.sleep(0.2)\nafter = 2\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package that no test has imported, with a slow `__init__` and a submodule that needs all of it."""
    name = f"late_package_{next(NUMBERS)}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(SLOW)
    (tmp_path / name / "part.py").write_text(f"from {name} import after\n")
    monkeypatch.syspath_prepend(tmp_path)
    return name


def imported(name: str) -> ModuleType:
    with lean_import(absent=frozenset(), late=frozenset({name})):
        return importlib.import_module(name)


def test_a_late_module_is_executed_at_the_first_question(package: str) -> None:
    module = imported(package)
    assert "after" not in vars(module)
    assert (module.before, module.after) == (1, 2)
    assert type(module) is ModuleType
    with pytest.raises(AttributeError, match="nothing"):
        _ = module.nothing


def test_a_submodule_finds_its_late_package_executed(package: str) -> None:
    imported(package)
    assert importlib.import_module(f"{package}.part").after == 2


def test_no_thread_sees_a_late_module_half_executed(package: str) -> None:
    module, ready = imported(package), threading.Barrier(6)
    found: list[object] = []

    def ask(name: str) -> None:
        ready.wait()
        found.append(getattr(module, name, None))

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("before", "after") * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, found)) == ["1", "1", "1", "2", "2", "2"]


def test_a_late_module_that_fails_gives_its_error_each_time(package: str, tmp_path: Path) -> None:
    (tmp_path / package / "__init__.py").write_text("import no_such_module_at_all\n")
    module = imported(package)
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
            _ = module.after


def test_what_is_absent_is_so_for_this_thread_and_this_block(package: str) -> None:
    found: list[object] = []
    with lean_import(absent=frozenset({package}), late=frozenset()):
        with pytest.raises(ModuleNotFoundError, match=package):
            importlib.import_module(package)
        other = threading.Thread(target=lambda: found.append(importlib.import_module(package).after))
        other.start()
        other.join()
    assert found == [2]
    del sys.modules[package]
    assert importlib.import_module(package).after == 2
