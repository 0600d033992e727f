"""Settings for bitwise reproducible training with torch: seed, deterministic algorithms, one thread."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal

import torch

from tallywright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

THREADS: Final = 1
"""A sum split over threads depends on their number; networks of this size gain nothing from a second one."""


def choose_device(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device of the spec; `auto` takes CUDA where there is one.

    Raises:
        UsageError: CUDA was asked for and is not there.
    """
    if wanted == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if wanted == "cuda":
        raise UsageError(
            "training.device is 'cuda', and torch finds no CUDA device here",
            expected="a machine with an NVIDIA GPU and its driver",
            remedy="use `--set training.device=auto` (or cpu)",
        )
    return torch.device("cpu")


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """Seeds torch and allows only deterministic algorithms inside; puts the global settings back afterwards."""
    # cuBLAS reads this when its first handle is made; without it the deterministic mode refuses matrix products.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    strict, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.use_deterministic_algorithms(mode=True)
        torch.set_num_threads(THREADS)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(mode=strict)
            torch.set_num_threads(threads)
