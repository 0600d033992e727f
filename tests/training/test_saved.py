"""A network leaves as TorchScript or as an exported program, built again from its package, with equal scores."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest

from tallywright.errors import PackageError, UsageError
from tallywright.packaging.manifest import runtime_requirements
from tallywright.packaging.package import PackageContents, PackageMeta, write_package
from tallywright.packaging.predictor import Predictor
from tallywright.packaging.preprocess import Category, ModelInput, Preprocess
from tallywright.profiles.accumulate import profile_rows
from tallywright.profiles.profile import define
from tallywright.training.networks.export import export_onnx
from tallywright.training.networks.module import NetworkDims, ScoringModule
from tallywright.training.networks.rebuilt import rebuilt_network
from tallywright.training.networks.saved import BOUND, save_network
from tallywright.training.objective import learn_objective
from tallywright.training.scaling import learn_scaling
from tallywright.training.user_code.source import find_network

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.slow,
    # Both ways of torch announce their successors, and tracing warns of every constant.
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning"),
]

KNOWN = ("a", "b", "c")
CLASSES = {"binary": (), "multiclass": ("0", "1", "2"), "regression": ()}


@pytest.fixture
def packaged(flights_folder, rows, small_spec, tmp_path):
    """Packages the flights' network with the weights that it starts with."""

    def make(task="binary", *, class_weight="balanced", **config):
        data, spec = rows(task), small_spec(task, class_weight=class_weight)
        objective = learn_objective(task, data.target, class_weight)
        scaling = learn_scaling(data.numeric, spec.numeric)
        source = find_network(flights_folder, spec.network.module)
        dims = NetworkDims(scaling.width, (5,), spec.network.hidden, spec.network.dropout, objective.outputs)
        torch.manual_seed(3)
        module = ScoringModule(source.build(dims), scaling, objective).eval()
        definition = define(dict(zip("abc", data.numeric.T, strict=True)), {"k": KNOWN}, np.zeros(1, np.float32), 10)
        sample = ModelInput(data.numeric[:200], data.categorical[:200])
        recorded = {
            "training": spec.as_json(),
            "network_sha256": source.sha256,
            "objective": objective.recorded,
        }
        contents = PackageContents(
            meta=PackageMeta(
                model="toy",
                task=task,
                target="y",
                classes=CLASSES[task],
                class_type="int32",
                trained_through=date(2024, 1, 31),
                requirements=runtime_requirements(),
                training_config=recorded | config,
                created_at=datetime(2024, 2, 1, tzinfo=UTC),
            ),
            preprocess=Preprocess(numeric=tuple("abc"), categorical=(Category(column="k", categories=KNOWN),)),
            onnx=export_onnx(module, data.numeric, data.categorical),
            weights={name: tensor.numpy() for name, tensor in module.state_dict().items()},
            definition=definition,
            reference=profile_rows(definition, sample.numeric, sample.categorical, np.zeros(200, np.float32)),
            parity=(sample, np.zeros(200, np.float32)),
            features={"network.py": source.text, "other.py": "build = None\n"},
        )
        return write_package(tmp_path / "package", contents)

    return make


def scores(saved, inputs):
    with torch.no_grad():
        found = saved(
            numeric=torch.from_numpy(np.array(inputs.numeric, order="C")),
            categorical=torch.from_numpy(np.array(inputs.categorical, order="C")),
        )
    return found.numpy()


@pytest.mark.parametrize(
    "task",
    [pytest.param("binary", marks=pytest.mark.long), pytest.param("multiclass", marks=pytest.mark.long), "regression"],
)
def test_torchscript_scores_like_the_package(packaged, tmp_path, task) -> None:
    """Balanced weights and a scale are part of the score: both are recorded, neither is in the weights."""
    package = packaged(task)
    gap = save_network(package, tmp_path / "model.pt")
    inputs, _ = package.parity()
    expected = Predictor(package).score(inputs)
    found = scores(torch.jit.load(str(tmp_path / "model.pt")), inputs)
    np.testing.assert_allclose(found, expected, rtol=0, atol=BOUND * max(1, np.abs(expected).max()))
    assert 0 <= gap <= BOUND


@pytest.mark.long
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_an_exported_program_scores_like_the_package(packaged, tmp_path, task) -> None:
    package = packaged(task)
    save_network(package, tmp_path / "model.pt2")
    inputs, _ = package.parity()
    expected = Predictor(package).score(inputs)
    program = torch.export.load(str(tmp_path / "model.pt2")).module()
    for few in (inputs, inputs.take(slice(0, 1)), inputs.take(slice(3, 50))):
        want = Predictor(package).score(few)
        np.testing.assert_allclose(scores(program, few), want, rtol=0, atol=BOUND * max(1, np.abs(expected).max()))


def test_of_several_estimators_the_one_is_taken_whose_weights_these_are(packaged) -> None:
    package = packaged()
    network = package.meta.training_config["training"]["network"]
    wider = network | {"hidden": [64, 64]}
    estimators = {"training": {"estimator": [{"kind": "lightgbm"}, wider, network]}}
    meta = package.meta.model_copy(update={"training_config": package.meta.training_config | estimators})
    module = rebuilt_network(replace(package, meta=meta))
    expected = Predictor(package).score(package.parity()[0])
    np.testing.assert_allclose(scores(module, package.parity()[0]), expected, atol=BOUND)


def test_a_package_of_before_does_not_say_how_it_was_weighted(packaged) -> None:
    def before(package):
        config = {name: value for name, value in package.meta.training_config.items() if name != "objective"}
        return replace(package, meta=package.meta.model_copy(update={"training_config": config}))

    plain = packaged(class_weight="none")
    found = scores(rebuilt_network(before(plain)), plain.parity()[0])
    np.testing.assert_allclose(found, Predictor(plain).score(plain.parity()[0]), atol=BOUND)
    with pytest.raises(UsageError, match="does not say how its scores were scaled"):
        rebuilt_network(before(packaged()))


def test_what_scores_otherwise_is_refused(packaged, tmp_path) -> None:
    other = {"objective": {"weights": [1.0, 3.0], "location": 0.0, "scale": 1.0}}
    with pytest.raises(PackageError, match="scores otherwise than the package, by"):
        save_network(packaged(**other), tmp_path / "model.pt")


def test_a_source_that_builds_another_network_is_refused(packaged) -> None:
    with pytest.raises(PackageError, match="the network cannot be built again"):
        rebuilt_network(packaged(training={"network": {"module": "network.py", "hidden": [3], "dropout": 0.1}}))
