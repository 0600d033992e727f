from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tallywright.data.storage.scratch import scratch_folder
from tallywright.errors import StorageError

_HOLD = """
import sys, time
from pathlib import Path
from tallywright.data.storage.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "rows").mkdir()
    print(folder, flush=True)
    time.sleep(60)
"""


def test_a_folder_goes_with_its_block(tmp_path):
    with pytest.raises(FileExistsError), scratch_folder(tmp_path / "etl") as folder:
        folder.mkdir()
    assert not list((tmp_path / "etl").iterdir())


def test_the_next_one_clears_up_after_the_killed_and_leaves_the_living_alone(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    theirs = tmp_path / process.stdout.readline().strip()
    with scratch_folder(tmp_path) as folder:
        assert folder != theirs
        assert (theirs / "rows").is_dir()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (theirs / "rows").is_dir()
    with scratch_folder(tmp_path) as folder:
        assert {path for path in tmp_path.iterdir() if path.is_dir()} == {folder}
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="scratch folder"), scratch_folder(tmp_path / "file" / "etl"):
        pass
