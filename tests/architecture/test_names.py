"""A class name says one thing: no two classes of the package share a name."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import tallywright

ROOT = Path(tallywright.__file__).parent


def test_no_class_name_is_defined_twice() -> None:
    modules: defaultdict[str, list[str]] = defaultdict(list)
    for file in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                modules[node.name].append(str(file.relative_to(ROOT)))
    assert "ModelSpec" in modules, "no class was found: the package is elsewhere"
    assert {name: found for name, found in modules.items() if len(found) > 1} == {}
