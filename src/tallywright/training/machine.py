"""What a training ran on and with: the facts that explain why a repetition elsewhere may differ in the last bit."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

_LIBRARIES: Final = ("tallywright", "torch", "numpy", "onnx", "onnxruntime", "pyarrow", "deltalake", "scikit-learn")


def machine_tags(device: str) -> dict[str, str]:
    """Hardware and library versions as tags; `device` is where the fit ran."""
    tags = {
        "hardware.device": device,
        "hardware.processor": _processor(),
        "hardware.cores": str(os.cpu_count() or 0),
        "hardware.memory_gb": _memory_gb(),
        "environment.system": platform.platform(),
        "environment.python": platform.python_version(),
    }
    if device.startswith("cuda"):
        import torch

        tags["hardware.gpu"] = torch.cuda.get_device_name(0)
    return tags | {f"environment.{name}": _version(name) for name in _LIBRARIES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    if file.is_file():
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gb() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f}"
    except (ValueError, OSError):
        return "unknown"
