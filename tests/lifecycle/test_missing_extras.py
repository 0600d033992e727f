"""A step whose packages are not installed says which to install; the slim core has no part in that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tallywright.errors import SpecError, TrackingError, UsageError

pytestmark = pytest.mark.slow

DAY = "2025-01-20"


def _tally(root: Path, *arguments: str, without: str = "") -> subprocess.CompletedProcess[str]:
    """Runs `tally` in a process that finds everything installed but the package `without`."""
    hidden = root.parent / "hidden"
    hidden.mkdir(exist_ok=True)
    if without:
        text = f"raise ModuleNotFoundError(\"No module named '{without}'\", name={without!r})\n"
        (hidden / f"{without}.py").write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "tallywright", *arguments], cwd=root, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(hidden)},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("step", "package", "extra", "code"),
    [
        ("day-gate", "great_expectations", "gx", UsageError.exit_code),
        ("day-gate", "pandas", "gx", UsageError.exit_code),
        ("promote", "mlflow", "train", TrackingError.exit_code),
    ],
)
def test_a_step_without_its_packages_names_the_extra(
    step: str, package: str, extra: str, code: int, tmp_path: Path
) -> None:
    root = tmp_path / "project"
    assert _tally(tmp_path, "init", str(root)).returncode == 0
    assert _tally(root, "ingest", "late_orders", "--date", DAY).returncode == 0
    command = ["run", "late_orders", step, "--date", DAY, *(["--version", "1"] if step == "promote" else [])]
    done = _tally(root, *command, without=package)
    assert done.returncode == code, done.stderr
    assert package in done.stderr
    assert f"pip install 'tallywright[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_network_that_cannot_be_tried_names_the_extra(tmp_path: Path) -> None:
    root = tmp_path / "project"
    assert _tally(tmp_path, "init", str(root)).returncode == 0
    done = _tally(root, "validate", "late_orders", "--network", without="torch")
    assert done.returncode == SpecError.exit_code
    assert "No module named 'torch'; pip install 'tallywright[train]'" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
