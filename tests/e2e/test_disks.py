"""A disk that is read-only or full, for real: file systems mounted for one command in a namespace of its own."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

IN_NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
READ_ONLY = 'mount --bind .tally/lake .tally/lake && mount -o remount,bind,ro .tally/lake && exec "$@"'
# What the command left behind on the full disk is copied out before the disk goes with its namespace.
FULL = """
mkdir .tally/full && mount -t tmpfs -o "size=$(( $(du -sk .tally/lake | cut -f1) + 16 ))k" none .tally/full &&
cp -a .tally/lake/. .tally/full/ && mount --bind .tally/full .tally/lake || exit 99
while dd if=/dev/zero bs=1k count=8 status=none >> .tally/lake/filler; do :; done 2>/dev/null
"$@"; code=$?; cp -a .tally/lake .tally/after; exit $code
"""
COMMANDS = {
    "a new day": ("score", "late_orders", "--date", "2025-04-08"),
    "a day again": ("run", "late_orders", "score", "--date", "2025-04-07", "--force"),
}


def _may_mount() -> bool:
    try:
        trial = [*IN_NAMESPACE, "mount -t tmpfs none /mnt"]
        return subprocess.run(trial, check=False, capture_output=True, timeout=20).returncode == 0
    except OSError:
        return False


needs_mounts = pytest.mark.skipif(not _may_mount(), reason="this machine gives nobody mounts of their own")


def _files(lake: Path) -> dict[str, bytes]:
    files = (path for path in lake.rglob("*") if path.is_file() and path.name != "filler")
    return {str(path.relative_to(lake)): path.read_bytes() for path in files}


@needs_mounts
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("disk", [READ_ONLY, FULL], ids=["read-only", "full"])
def test_a_disk_that_takes_nothing_is_a_storage_error_and_nothing_changes(copy, name: str, disk: str) -> None:
    world = copy()
    lake = world.root / ".tally/lake"
    before = _files(lake)
    done = replace(world, under=(*IN_NAMESPACE, disk, "sh")).tally(*COMMANDS[name], code=11)
    assert "to do:" in done.err
    after = world.root / ".tally/after"
    assert _files(after if after.exists() else lake) == before
