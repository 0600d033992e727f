"""The cache gives what the digest names, whole, with many processes at it."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from tallywright.errors import PackageError, StorageError
from tallywright.packaging.package import PackageCache


def test_put_then_get(package, tmp_path: Path) -> None:
    cache = PackageCache(tmp_path / "cache")
    assert cache.get(package.digest) is None
    cached = cache.put(package.folder)
    assert cached.digest == package.digest
    assert cached.folder.is_relative_to(tmp_path)
    assert cache.get(package.digest) == cached == cache.put(package.folder)
    assert [path.name for path in cache.root.iterdir()] == [package.digest]


def test_an_altered_entry_is_dropped_and_can_come_again(package, tmp_path: Path) -> None:
    cache = PackageCache(tmp_path)
    folder = cache.put(package.folder).folder
    (folder / "model.onnx").write_bytes(b"altered")
    assert cache.get(package.digest) is None
    assert not folder.exists()
    assert cache.put(package.folder).digest == package.digest


def test_a_bad_package_or_digest_is_refused(own_package, tmp_path: Path) -> None:
    cache = PackageCache(tmp_path / "cache")
    (own_package.folder / "model.onnx").unlink()
    with pytest.raises(PackageError, match=r"missing model\.onnx"):
        cache.put(own_package.folder)
    with pytest.raises(PackageError, match="not a package digest"):
        cache.get("../../etc")


def test_a_cache_that_cannot_be_written_says_so(package, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        PackageCache(tmp_path / "file" / "cache").put(package.folder)


def _put(arguments: tuple[Path, Path]) -> str:
    root, folder = arguments
    return PackageCache(root).put(folder).digest


@pytest.mark.slow
def test_processes_that_put_the_same_package_all_get_it(package, tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        digests = pool.map(_put, [(tmp_path, package.folder)] * 9)
    assert set(digests) == {package.digest}
    assert os.listdir(tmp_path) == [package.digest]  # noqa: PTH208
