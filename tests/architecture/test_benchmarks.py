"""Benchmarks that name functions by strings name functions that are there."""

from __future__ import annotations

import importlib.util
from functools import reduce
from pathlib import Path
from types import ModuleType

import pytest


def _benchmark(repository: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, repository / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_block_of_a_pass_is_a_function(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(repository / "benchmarks")
    for address in _benchmark(repository, "local_pass").BLOCKS:
        module, _, name = address.partition(":")
        found = reduce(getattr, name.split("."), importlib.import_module(f"tallywright.{module}"))
        assert callable(found), address
