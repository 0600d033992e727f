"""A folder whose name storage libraries read as something else is refused before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from synthetic import make_project

from tallywright.cli.init import init
from tallywright.errors import UsageError
from tallywright.spec import load_project


@pytest.mark.parametrize(
    ("name", "character"),
    [("what? a", "`?`"), ("a%20b", "`%`"), ("[x]", "`[…]`"), ("a*", "`*`"), ("a\nb", "line break")],
)
def test_it_is_refused_by_its_character(tmp_path: Path, name: str, character: str) -> None:
    with pytest.raises(UsageError) as error:
        make_project(tmp_path / name)
    assert character in error.value.found
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError):
        load_project("shop", root=tmp_path / name, environment="local")
    done = CliRunner().invoke(init, [str(tmp_path / name / "new")])
    assert isinstance(done.exception, UsageError)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["a b", "ü", "100%", "a[b", "it's", "a#b", "{x}", "a=b&c"])
def test_other_names_are_no_matter(tmp_path: Path, name: str) -> None:
    assert make_project(tmp_path / name).spec.name == "shop"
