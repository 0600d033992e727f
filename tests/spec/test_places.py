"""A folder whose name storage libraries read as something else is refused before anything is written."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner
from synthetic import make_project

from tallywright.cli.init import init
from tallywright.errors import UsageError
from tallywright.spec import load_project
from tallywright.spec.places import keep_private


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


def test_the_projects_own_home_is_for_its_user_alone(tmp_path: Path) -> None:
    """Whatever the umask; a home that was opened to a group, and places elsewhere, stay as they are."""
    places = [str(tmp_path / ".tally-beam" / name) for name in ("lake", "work")]
    keep_private(tmp_path, *places, "s3://bucket/lake", str(tmp_path / "elsewhere"), "/var/lib/other")
    assert [path.name for path in tmp_path.iterdir()] == [".tally-beam"]
    home = tmp_path / ".tally-beam"
    for found, kept in ((0o755, 0o700), (0o777, 0o700), (0o770, 0o770), (0o750, 0o750), (0o700, 0o700)):
        home.chmod(found)
        keep_private(tmp_path, *places)
        assert stat.S_IMODE(home.stat().st_mode) == kept
