"""The reference project with another section `training`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tallywright.spec import Project, load_project


@pytest.fixture
def with_training(tmp_path: Path, repository: Path) -> Callable[..., Project]:
    """Loads the project with the section that a function makes of its own one, and with overrides."""
    folder = tmp_path / "models" / "flight_delays"
    folder.mkdir(parents=True)
    (folder / "network.py").write_text("def build(dims): ...\n")
    (folder / "model.onnx").write_bytes(b"")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/local.yaml").write_text("storage: {lake: lake}\n")
    values = yaml.safe_load((repository / "models/flight_delays/model.yaml").read_text())

    def again(change: Callable[[dict[str, Any]], dict[str, Any]], *sets: str) -> Project:
        changed = values | {"training": change(values["training"])}
        (folder / "model.yaml").write_text(yaml.safe_dump(changed, sort_keys=False))
        return load_project("flight_delays", root=tmp_path, overrides=sets)

    return again
