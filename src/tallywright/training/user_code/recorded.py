"""The network's source as a package records it; found without torch."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from tallywright.errors import UsageError
from tallywright.training.user_code.source import NetworkSource

if TYPE_CHECKING:
    from tallywright.packaging.package import Package

FEATURES: Final = "features/"
"""Below it the files of a project stand in a package."""
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""Taken off before a text is recorded; the digest is that of the file."""


def file_of(text: bytes, sha256: str | None) -> bytes | None:
    """The file with a digest that was recorded as this text; None where the digest is another file's."""
    files = (mark + text for mark in (b"", _BYTE_ORDER_MARK))
    return next((file for file in files if hashlib.sha256(file).hexdigest() == sha256), None)


def recorded_network(package: Package) -> NetworkSource:
    """The source of the network in a package, as its digest names it.

    Raises:
        UsageError: The model is no torch network.
        PackageError: The file was altered.
    """
    wanted = package.meta.training_config.get("network_sha256")
    texts = [name for name in package.manifest.files if name.startswith(FEATURES) and name.endswith(".py")]
    for name in texts if wanted else ():
        content = package.read(name)
        if file_of(content, wanted) is not None:
            return NetworkSource(package.folder / name, str(wanted), content)
    raise UsageError(
        f"the model {package.meta.model} with the package {package.digest[:12]} is no torch network",
        expected="a version that was trained by the estimator torch",
        remedy="use the format onnx, wheel or docker, which every version has",
    )
