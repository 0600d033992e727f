"""A spec means what it meant when it was written: its version says by which defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tallywright.errors import SpecError
from tallywright.spec import load_project
from tallywright.spec.model import ModelSpec
from tallywright.spec.upgrade import DEFAULTS, moved_keys, with_defaults

MADE_UP = {
    "gates.bootstrap": {2: 900},
    "scoring.canary.limits.max_mean_difference": {2: 0.2},
    "training.network.epochs": {2: 3, 3: 4},
    "tags": {2: ["new"]},
}


@pytest.fixture
def values(repository: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((repository / "models/flight_delays/model.yaml").read_text())
    found.pop("spec_version", None)
    found["training"]["network"] = found["training"].pop("estimator")
    del found["training"]["network"]["kind"]
    return found


@pytest.fixture
def project(tmp_path: Path, repository: Path) -> Path:
    folder = tmp_path / "models" / "flight_delays"
    folder.mkdir(parents=True)
    (folder / "model.yaml").write_text((repository / "models/flight_delays/model.yaml").read_text())
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/local.yaml").write_text("storage: {lake: lake}\n")
    return tmp_path


@pytest.mark.parametrize(("said", "bootstrap", "epochs"), [({}, 500, 10), ({"spec_version": 2}, 900, 10)])
def test_an_absent_key_means_what_the_version_says(values: Any, said: Any, bootstrap: int, epochs: int) -> None:
    before = ModelSpec.model_validate(values | said)
    spec = ModelSpec.model_validate(with_defaults(values | said, MADE_UP))
    assert spec.gates.bootstrap == bootstrap
    assert spec.training.network.epochs == epochs  # the file says so
    assert spec.tags == before.tags
    assert spec.scoring.canary is None
    assert before.gates.bootstrap == 500


def test_sections_that_are_there_are_filled_and_none_is_invented(values: Any) -> None:
    values |= {"spec_version": 2, "scoring": {"canary": {"model": 3, "share": 0.5, "limits": {}}}}
    del values["gates"]
    del values["training"]["network"]
    filled = with_defaults(values, MADE_UP)
    spec = ModelSpec.model_validate(filled)
    assert spec.scoring.canary
    assert spec.scoring.canary.limits.max_mean_difference == 0.2
    assert (spec.gates.bootstrap, spec.training.network.epochs) == (900, 3)
    assert "network" not in values["training"]
    values["scoring"] = {"canary": {"model": 3, "share": 0.5}}
    assert with_defaults(values, MADE_UP)["scoring"]["canary"]["limits"] == {"max_mean_difference": 0.2}


@pytest.mark.parametrize("broken", [{"gates": None}, {"gates": 3}, {"training": {}}, {"spec_version": "two"}])
def test_what_is_broken_is_left_to_validation(values: Any, broken: Any) -> None:
    found = with_defaults(values | {"spec_version": 2} | broken, MADE_UP)
    assert {key: found[key] for key in broken if key != "training"} == {
        k: v for k, v in broken.items() if k != "training"
    }


def test_the_second_version_reads_raw_files_otherwise_lets_a_refit_serve_and_no_author_approve(values: Any) -> None:
    sources = {"one": {"path": "a.csv"}, "two": {"path": "b.csv", "null_value": "-", "strict": False}}
    values |= {"data": values["data"] | {"sources": sources}}
    assert {path.rpartition(".")[0] for path in DEFAULTS} == {"data.sources.*", "training", "registry"}
    one, two = (ModelSpec.model_validate(with_defaults(values | {"spec_version": number})) for number in (1, 2))
    read = {name: (source.strict, source.null_texts) for name, source in one.data.sources.items()}
    assert read == {"one": (False, ("NA", "")), "two": (False, ("-", ""))}
    read = {name: (source.strict, source.null_texts) for name, source in two.data.sources.items()}
    assert read == {"one": (True, ("",)), "two": (False, ("-", ""))}
    assert (one.registry.author_may_approve, two.registry.author_may_approve) == (True, False)
    data = one.data.model_copy(update={"sources": two.data.sources})
    assert (one.training.refit, two.training.refit) == (False, True)
    training = one.training.model_copy(update={"refit": True})
    same = {"spec_version": 2, "data": data, "training": training, "registry": two.registry}
    assert one.model_copy(update=same) == two


def test_without_the_key_a_spec_is_of_the_first_version(values: Any) -> None:
    assert ModelSpec.model_validate(values).spec_version == 1


@pytest.mark.parametrize("version", ["0", "3", "two", "1.5", "true", "null"])
def test_an_unknown_version_is_refused(project: Path, version: str) -> None:
    file = project / "models/flight_delays/model.yaml"
    text = "".join(line for line in file.read_text().splitlines(keepends=True) if not line.startswith("spec_version"))
    file.write_text(f"spec_version: {version}\n{text}")
    with pytest.raises(SpecError, match="spec_version: found"):
        load_project("flight_delays", root=project)


def test_a_version_in_an_overlay_is_refused(project: Path) -> None:
    (project / "conf/local.yaml").write_text("models: {flight_delays: {spec_version: 2}}\n")
    with pytest.raises(SpecError, match=r"local\.yaml:1: models\.flight_delays\.spec_version: it stands in .*alone"):
        load_project("flight_delays", root=project)


@pytest.mark.parametrize("text", ["spec_version=2", " spec_version = 2"])
def test_a_version_in_a_set_is_refused(project: Path, text: str) -> None:
    with pytest.raises(SpecError, match="--set spec_version"):
        load_project("flight_delays", root=project, overrides=[text])


def test_what_is_said_of_keys_of_before() -> None:
    assert moved_keys({"gates": {"min_gain": 0.1}, "training": {"estimator": {"kind": "torch"}}}) == []
    (network,) = moved_keys({"training": {"network": {"epochs": 3}}})
    assert network.endswith("write `estimator: {kind: torch, epochs: 3}`")
    both = {"network": {"epochs": 3}, "estimator": {"kind": "torch", "batch_size": 64, "epochs": 5}}
    (network,) = moved_keys({"training": both})
    assert network.endswith("write `estimator: {kind: torch, batch_size: 64, epochs: 3}`")
    (network,) = moved_keys({"training": both | {"estimator": {"kind": "lightgbm"}}})
    assert "training.network is no longer used" in network
    (bootstrap,) = moved_keys({"gates": {"bootstrap": 200}})
    assert "no longer used" in bootstrap
    assert moved_keys({"gates": None, "training": "none"}) == []
