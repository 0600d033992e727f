"""What a package needs installed: pinned when it is made, checked before its first row."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

from tallywright.errors import PackageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_RUNTIME: Final = ("tallywright", "numpy", "onnxruntime", "pyarrow")


def runtime_requirements() -> dict[str, str]:
    """The versions installed here of what a score depends on, and of Python."""
    return {"python": platform.python_version(), **{name: version(name) for name in _RUNTIME}}


def check_environment(requirements: Mapping[str, str]) -> None:
    """Refuses an ONNX Runtime older than the one the package was made with: it may not know the graph's operators.

    A newer one reads older graphs by its own promise, and the parity check of the operations gate compares the scores.

    Raises:
        PackageError: ONNX Runtime is missing or too old.
    """
    wanted = requirements.get("onnxruntime")
    if wanted is None:
        return
    try:
        found = version("onnxruntime")
    except PackageNotFoundError:
        found = "none"
    if _release(found) < _release(wanted):
        raise PackageError(
            f"onnxruntime {found} is installed",
            expected=f"{wanted} or newer, with which the package was made",
            remedy=f"pip install 'onnxruntime>={wanted}'",
        )


def _release(text: str) -> tuple[int, ...]:
    """Major and minor; a version that cannot be read counts as the oldest."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])
