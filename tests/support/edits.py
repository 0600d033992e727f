"""Changes of a project's texts, each of which has to find what it changes."""

from __future__ import annotations

from typing import Final

EASY_GATES: Final = (
    ("roc_auc: {min: 0.6}\n", "roc_auc: {min: 0.1}\n  max_calibration_error: 1\n"),
    ("  estimator:\n", "  baselines: false\n  estimator:\n"),
)
"""Of the spec that `tally init` writes: what a model that has learnt for seconds can pass, and no baselines."""


def edited(text: str, *changes: tuple[str, str]) -> str:
    """The text with each old piece replaced by a new one."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text
