from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tallywright.errors import StorageError, UsageError
from tallywright.training.networks.checkpoint import Progress, State, load_checkpoint, save_checkpoint
from tallywright.training.networks.determinism import choose_device, deterministic
from tallywright.training.networks.loop import fit_network
from tallywright.training.networks.optimizer import AdamW

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow

TWO_RUNS = """
import hashlib, sys
import numpy as np, torch
from dataclasses import replace
from pathlib import Path
from tallywright.spec.sections import Training
from tallywright.training.networks.loop import FitRequest, fit_network
from tallywright.training.matrices import Rows
from tallywright.training.networks.module import NetworkDims, ScoringModule
from tallywright.training.scaling import learn_scaling
from tallywright.training.user_code.source import find_network
from tallywright.training.objective import learn_objective

torch.rand(int(sys.argv[2]))  # what happened before must not matter
torch.set_num_threads(int(sys.argv[2]))
random = np.random.default_rng(3)
numeric = random.normal(size=(5000, 3)).astype(np.float32)
codes = random.integers(0, 5, size=(5000, 1))
target = (numeric[:, 0] + random.normal(size=5000) > 0).astype(np.int64)
spec = Training.model_validate({"numeric": ["a", "b", "c"], "categorical": ["k"], "device": "cpu",
                                "network": {"epochs": 3, "batch_size": 128}})
objective = learn_objective("binary", target, "none")
scaling = learn_scaling(numeric, spec.numeric)
source = find_network(Path(sys.argv[1]), "network.py")
dims = NetworkDims(3, (5,), (64, 32), 0.1, 1)
rows = Rows(numeric, codes, objective.encode(target))
module = lambda: ScoringModule(source.build(dims), scaling, objective)
fitted = fit_network(FitRequest(module, rows, rows, spec, spec.network, "x"))
weights = b"".join(t.numpy().tobytes() for t in fitted.module.state_dict().values())
print(hashlib.sha256(weights).hexdigest(), fitted.progress.to_json())
"""


def weights_of(fitted):
    return {name: tensor.numpy() for name, tensor in fitted.module.state_dict().items()}


def assert_same_bits(one, two):
    assert one.keys() == two.keys()
    for name in one:
        assert one[name].tobytes() == two[name].tobytes(), name


def test_two_processes_learn_the_same_bits(flights_folder):
    outputs = [
        subprocess.run(
            [sys.executable, "-c", TWO_RUNS, str(flights_folder), threads], capture_output=True, text=True, check=True
        ).stdout
        for threads in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert len(json.loads(outputs[0].split(" ", 1)[1])["history"]) == 3


@pytest.mark.parametrize("killed_after", [1, 3])
def test_a_resumed_fit_equals_an_uninterrupted_one(tmp_path, rows, request_of, killed_after):
    train, validation = rows(), rows(seed=2)
    whole = fit_network(request_of(train, validation))

    class KilledError(Exception):
        pass

    def kill(epoch):
        # The epoch after the last checkpoint is half done when the process dies.
        if epoch.epoch == killed_after + 1:
            raise KilledError

    file = tmp_path / "run" / "checkpoint.safetensors"
    with pytest.raises(KilledError):
        fit_network(request_of(train, validation, checkpoint=file, progress=kill))
    seen = []
    resumed = fit_network(request_of(train, validation, checkpoint=file, progress=seen.append))

    assert seen[0].epoch == killed_after + 1
    assert resumed.progress == whole.progress
    assert_same_bits(weights_of(whole), weights_of(resumed))


def test_a_finished_checkpoint_gives_the_model_without_another_epoch(tmp_path, rows, request_of):
    train, validation = rows(), rows(seed=2)
    file = tmp_path / "checkpoint.safetensors"
    first = fit_network(request_of(train, validation, checkpoint=file))
    seen = []
    second = fit_network(request_of(train, validation, checkpoint=file, progress=seen.append))
    assert seen == []
    assert_same_bits(weights_of(first), weights_of(second))


def test_a_checkpoint_of_another_configuration_is_not_used(tmp_path, rows, request_of):
    train, validation = rows(), rows(seed=2)
    file = tmp_path / "checkpoint.safetensors"
    fit_network(request_of(train, validation, checkpoint=file))
    seen = []
    fit_network(request_of(train, validation, checkpoint=file, configuration="two", progress=seen.append))
    assert seen[0].epoch == 1


def test_a_damaged_checkpoint_is_not_used(tmp_path):
    file = tmp_path / "checkpoint.safetensors"
    save_checkpoint(file, State(Progress(configuration="one"), {"model.a": torch.ones(3)}))
    assert load_checkpoint(file, "one").tensors["model.a"].tolist() == [1, 1, 1]
    file.write_bytes(file.read_bytes()[:-5])
    assert load_checkpoint(file, "one") is None


def test_a_checkpoint_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write the checkpoint"):
        save_checkpoint(tmp_path / "file" / "checkpoint.safetensors", State(Progress(configuration="one")))


def test_another_seed_gives_another_model(rows, request_of, small_spec):
    train, validation = rows(), rows(seed=2)
    one = fit_network(request_of(train, validation))
    two = fit_network(request_of(train, validation, spec=small_spec().model_copy(update={"seed": 8})))
    assert weights_of(one)["network.head.weight"].tobytes() != weights_of(two)["network.head.weight"].tobytes()


def test_early_stopping_keeps_the_best_epoch(rows, request_of, small_spec):
    # Targets that say nothing about the validation rows: more epochs can only make it worse.
    train, validation = rows(count=200), rows(count=200, seed=2)
    flipped = type(validation)(validation.numeric, validation.categorical, 1 - validation.target)
    spec = small_spec(epochs=50, patience=2, learning_rate=0.01)
    fitted = fit_network(request_of(train, flipped, spec=spec))
    progress = fitted.progress
    assert progress.epochs_done == progress.best_epoch + 2 < 50
    assert progress.best_loss == min(epoch.validation_loss for epoch in progress.history)


def test_a_fit_for_a_number_of_rounds_goes_the_way_of_the_fit_that_chose_them(tmp_path, rows, request_of, small_spec):
    train, validation = rows(count=200), rows(count=200, seed=2)
    flipped = type(validation)(validation.numeric, validation.categorical, 1 - validation.target)
    spec = small_spec(epochs=50, patience=2, learning_rate=0.003)
    chosen = fit_network(request_of(train, flipped, spec=spec))
    rounds = chosen.progress.best_epoch
    assert 1 <= rounds < chosen.progress.epochs_done
    request = request_of(train, validation, spec=spec, checkpoint=tmp_path / "checkpoint.safetensors")
    request = replace(request, validation=None, rounds=rounds)
    for fitted in (fit_network(request), fit_network(request)):  # the second one from the checkpoint
        assert fitted.progress.best_epoch == fitted.progress.epochs_done == rounds
        assert_same_bits(weights_of(chosen), weights_of(fitted))


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_every_task_learns(rows, request_of, small_spec, task):
    train, validation = rows(task, count=2000), rows(task, seed=2)
    fitted = fit_network(request_of(train, validation, task, spec=small_spec(task, epochs=12, learning_rate=0.01)))
    with torch.no_grad():
        score = fitted.module(torch.from_numpy(validation.numeric), torch.from_numpy(validation.categorical)).numpy()
    if task == "regression":
        assert np.corrcoef(score, validation.target)[0, 1] > 0.7
        assert abs(score.mean() - validation.target.mean()) < 3
    elif task == "binary":
        assert score[validation.target == 1].mean() > score[validation.target == 0].mean() + 0.2
    else:
        np.testing.assert_allclose(score.sum(axis=1), 1, atol=1e-6)
        assert (score.argmax(axis=1) == validation.target).mean() > 0.5


def test_balanced_classes_still_give_calibrated_probabilities(rows, request_of, small_spec):
    train = rows(count=4000)
    rare = train.target & (np.arange(4000) % 4 == 0)
    train = type(train)(train.numeric, train.categorical, rare)
    for weight in ("none", "balanced"):
        spec = small_spec(epochs=12, learning_rate=0.01, class_weight=weight)
        module = fit_network(request_of(train, train, spec=spec)).module
        with torch.no_grad():
            score = module(torch.from_numpy(train.numeric), torch.from_numpy(train.categorical)).numpy()
        assert abs(score.mean() - rare.mean()) < 0.03, weight


def test_the_settings_of_torch_are_put_back():
    state = torch.get_rng_state()
    with deterministic(5):
        assert torch.are_deterministic_algorithms_enabled()
        torch.rand(3)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.get_rng_state(), state)


def test_the_optimizer_is_adamw():
    torch.manual_seed(0)
    ours, theirs = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    one = AdamW(ours.parameters(), learning_rate=0.01, weight_decay=0.1)
    two = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.1, foreach=True)
    for step in range(20):
        batch = torch.randn(8, 4)
        for module, optimizer, clear in ((ours, one, one.clear), (theirs, two, two.zero_grad)):
            clear()
            (module(batch) ** 2).sum().backward()
            optimizer.step()
        if step == 10:
            again = AdamW(ours.parameters(), learning_rate=0.01, weight_decay=0.1)
            again.restore(one.tensors())
            one = again
    for left, right in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(left, right)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without CUDA")
def test_cuda_that_is_not_there_is_refused():
    assert choose_device("auto").type == "cpu"
    with pytest.raises(UsageError, match="no CUDA device"):
        choose_device("cuda")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"learning_rate": 1e18}, r"epoch \d: the (validation )?loss is (nan|inf).*\n.*\n.*run away: lower"),
        ({}, r"epoch 1: the loss is nan; the largest weight is 0\.\d+ \(.*\n.*\n.*gives no numbers"),
    ],
)
def test_the_fit_stops_at_the_first_figure_that_is_not_finite(
    request_of, rows, small_spec, settings, told, monkeypatch
):
    from tallywright.errors import SpecError
    from tallywright.training.networks.module import ScoringModule

    epochs = []
    spec = small_spec(**settings)
    if not settings:
        plain = ScoringModule.logits
        monkeypatch.setattr(ScoringModule, "logits", lambda self, *given: plain(self, *given) * float("nan"))
    with pytest.raises(SpecError) as refused:
        fit_network(request_of(rows(), rows(seed=2), spec=spec, progress=epochs.append))
    assert re.match(told, str(refused.value))
    assert all(math.isfinite(epoch.train_loss + epoch.validation_loss) for epoch in epochs)
