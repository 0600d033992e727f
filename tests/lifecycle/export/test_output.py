"""An export is complete or not there, and replaces nothing but an earlier export."""

from __future__ import annotations

import pytest

from tallywright.errors import UsageError
from tallywright.lifecycle.export.output import RECORD, new_folder


def written(target, text, *, force=False):
    with new_folder(target, {"format": "onnx"}, force=force) as folder:
        (folder / "model").write_text(text)


def test_a_taken_folder_stays_without_force(tmp_path) -> None:
    written(tmp_path / "deep" / "out", "one")
    with pytest.raises(UsageError, match="is there already"):
        written(tmp_path / "deep" / "out", "two")
    assert (tmp_path / "deep" / "out" / "model").read_text() == "one"
    written(tmp_path / "deep" / "out", "two", force=True)
    assert (tmp_path / "deep" / "out" / "model").read_text() == "two"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


@pytest.mark.parametrize("kind", ["folder", "file", "link", "broken link"])
def test_force_replaces_nothing_but_an_export(tmp_path, kind) -> None:
    target, other = tmp_path / "out", tmp_path / "other"
    written(other, "one")
    if kind == "folder":
        target.mkdir()
        (target / "mine").write_text("mine")
    elif kind == "file":
        target.write_text("mine")
    else:
        target.symlink_to(other if kind == "link" else tmp_path / "nowhere")
    with pytest.raises(UsageError, match="was not made by tally package"):
        written(target, "two", force=True)
    assert (other / "model").read_text() == "one"
    assert target.is_symlink() or target.exists()


@pytest.mark.parametrize("taken", [False, True])
def test_what_fails_leaves_nothing_new_and_the_old_as_it_was(tmp_path, taken) -> None:
    if taken:
        written(tmp_path / "out", "one")
    with pytest.raises(TypeError):
        written(tmp_path / "out", b"no text", force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"] * taken
    assert not taken or (tmp_path / "out" / "model").read_text() == "one"
    assert (tmp_path / "out" / RECORD).is_file() is taken
