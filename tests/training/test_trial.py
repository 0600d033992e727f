"""A network that misbehaves is told before anything is trained; one that does not is not."""

from __future__ import annotations

import random
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.errors import SpecError
from tallywright.training.user_code.source import find_network, network_problem

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow

HEAD = """import torch
from torch import nn
class Network(nn.Module):
    def __init__(self, dims):
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(codes, 2) for codes in dims.categories])
        self.dense = nn.Linear(dims.numeric + 2 * len(dims.categories), {outputs})
        self.count = 0
    def forward(self, numeric, categorical):
        parts = [numeric] + [table(categorical[:, i]) for i, table in enumerate(self.tables)]
        features = torch.cat(parts, dim=1)
        out = self.dense(features)
{body}
        return out
def build(dims):
    return Network(dims)
"""
LINE = 13
"""Of the first line of a body."""


def network(*body: str, outputs: str = "dims.outputs") -> str:
    return HEAD.format(body="\n".join(f"        {line}" for line in body), outputs=outputs)


@pytest.fixture
def try_source(tmp_path, rows, small_spec):
    """Tries a network of this text; keyword arguments are the task and the settings of the network."""
    from tallywright.training.networks.module import NetworkDims, ScoringModule
    from tallywright.training.networks.trial import Trial
    from tallywright.training.objective import learn_objective
    from tallywright.training.scaling import learn_scaling

    def try_it(text, task="binary", hidden=(8,)):
        (tmp_path / "network.py").write_bytes(text if isinstance(text, bytes) else text.encode())
        data = rows(task)
        objective = learn_objective(task, data.target, "none")
        scaling = learn_scaling(data.numeric, ["a", "b", "c"])
        dims = NetworkDims(scaling.width, (5,), hidden, 0.1, objective.outputs)
        source = find_network(tmp_path, "network.py")
        encoded = replace(data, target=objective.encode(data.target))
        make = lambda: ScoringModule(source.build(dims, quiet=True), scaling, objective)  # noqa: E731
        Trial(source.path, make, dims, encoded, seed=7).run()

    return try_it


BAD = {
    "it ends the process": ("raise SystemExit(0)\n", "network.py line 1 ends the process (SystemExit: 0)"),
    "it is interrupted": ("def build(dims):\n    exit('so')\n", "ends the process (SystemExit: so)"),
    "it raises": (network("raise ValueError('boom')"), f"network.py line {LINE}, in forward: ValueError: boom"),
    "it raises something odd": (
        network("class Odd(BaseException): pass", "raise Odd('boom')"),
        f"line {LINE + 1}, in forward: Odd: boom",
    ),
    "it raises what has no text": (
        network("class Odd(Exception):", "    def __str__(self): raise ValueError", "raise Odd"),
        f"line {LINE + 2}, in forward: Odd: its text cannot be made: ValueError",
    ),
    "it raises what acts on a terminal": (network(r"raise ValueError('\x1b[2J')"), r"ValueError: \x1b[2J"),
    "a layer without a shape": (
        network().replace("nn.Linear(dims.numeric + 2 * len(dims.categories), ", "nn.LazyLinear("),
        "dense.weight has no shape before forward is called",
    ),
    "another shape": (network(outputs="dims.outputs + 1"), "forward gives [4, 2] for 4 rows; expected [4, 1]"),
    "one dimension": (network("out = out[:, 0]"), "forward gives [4] for 4 rows; expected [4, 1]"),
    "no tensor": (network("out = (out, out)"), "forward gives a tuple; expected a tensor [4, 1]"),
    "None": (network("out = None"), "forward gives a NoneType"),
    "half of the bits": (network("out = out.half()"), "forward gives torch.float16"),
    "nan": (network("out = out * float('nan')"), "nan or infinity for 4 of 4 rows, before anything is trained"),
    "infinity in training alone": (
        network("out = out / 0.0 if self.training else out"),
        "the loss of 8 rows is",
    ),
    "a branch on a sum": (
        network("numeric = numeric + 1 if float(numeric.sum()) > 0 else numeric - 1", "out = out + numeric[:, :1]"),
        f"forward branches on values (network.py line {LINE}), which an exported graph cannot",
    ),
    "a branch that no row here takes": (
        network("if numeric.sum() > 1e6:", "    out = -out"),
        f"forward branches on values (network.py line {LINE})",
    ),
    "a number that was read": (
        network("out = out * numeric.mean().item()"),
        f"forward branches on values (network.py line {LINE})",
    ),
    "a list that was read": (
        network("out = out + torch.tensor([[sum(row)] for row in numeric.tolist()])"),
        f"forward branches on values (network.py line {LINE})",
    ),
    "a branch on the number of rows": (network("out = out * 2 if len(numeric) > 10 else out"), "the rows beside it"),
    "the batch's mean": (network("out = out - out.mean()"), "depends on the rows beside it"),
    "dropout that never ends": (network("out = nn.functional.dropout(out, 0.5)"), "when it is asked again"),
    "memory": (network("self.count += 1", "out = out * self.count"), "when it is asked again"),
    "nothing to learn": (network("out = out.detach()"), "depends on no parameter"),
    "no parameters": (
        "import torch\nclass N(torch.nn.Module):\n    def forward(self, n, c): return n\ndef build(dims): return N()\n",
        "has no parameters that could be learnt",
    ),
    "no module": ("def build(dims):\n    return 3\n", "`build` gives a int"),
    "a giant": (
        "from torch import nn\ndef build(dims):\n    return nn.Linear(10_000, 10_000)\n",
        "makes a network of 100,010,000 parameters, 400.0 MB; at most 50,000,000",
    ),
    "what ONNX has no word for": (
        network("out = out + torch.linalg.eigvalsh(numeric.T @ numeric).sum() * 0"),
        "cannot be exported to ONNX",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_network_that_misbehaves_is_told_before_the_training(name, try_source, capsys):
    text, told = BAD[name]
    with pytest.raises(SpecError) as refused:
        try_source(text)
    assert told in refused.value.found
    assert "network.py" in refused.value.found
    assert refused.value.exit_code == 3
    assert capsys.readouterr().out == ""


def test_a_giant_by_its_hidden_layers_is_refused_without_being_made(try_source):
    text = (
        "from torch import nn\ndef build(dims):\n    widths = (dims.numeric, *dims.hidden, dims.outputs)\n"
        "    return nn.Sequential(*[nn.Linear(a, b) for a, b in zip(widths, widths[1:])])\n"
    )
    with pytest.raises(SpecError, match=r"10,000,\d{3},\d{3} parameters"):
        try_source(text, hidden=(100_000, 100_000))


GOOD = {
    "plain": network(),
    "an assertion about values": network("assert not torch.isnan(numeric).any(), 'nulls'"),
    "a warning about values": network("if float(numeric.abs().max()) > 1e9: print('large')"),
    "rows chosen by tensors": network("out = torch.where(numeric[:, :1] > 0, out, -out)"),
    "layers of the batch": network("out = torch.relu(out) + nn.functional.batch_norm(out, torch.zeros(out.shape[1]), "
                                   "torch.ones(out.shape[1]), training=False)"),
    "shapes": network("out = out.reshape(numeric.shape[0], -1)", "assert out.shape[0] == len(categorical)"),
    "dropout": network("out = nn.functional.dropout(out, 0.5, training=self.training)"),
    "a dataclass": "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass S:\n    x: int = 1\n" + network().replace("import torch\n", "import torch\n", 1),  # noqa: E501
}  # fmt: skip


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("name", GOOD)
def test_a_sound_network_is_let_through(name, task, try_source):
    try_source(GOOD[name], task)


def test_the_trial_draws_no_number_of_the_fit(try_source):
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)
    states = [torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()]  # noqa: NPY002
    try_source("import random\nimport numpy\nrandom.random()\nnumpy.random.rand()\n" + network())
    assert states == [torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()]  # noqa: NPY002


def test_what_it_prints_goes_to_the_log(tmp_path, heard, capsys):
    from tallywright.training.networks.module import NetworkDims

    (tmp_path / "network.py").write_text("print('hello')\n" + network("print('again', end='')"))
    built = find_network(tmp_path, "network.py").build(NetworkDims(3, (5,), (8,), 0.0, 1))
    assert isinstance(built, torch.nn.Module)
    assert capsys.readouterr().out == ""
    assert [record.getMessage() for record in heard.records] == ["network.py: hello"]


@given(st.binary(max_size=60))
def test_bytes_are_a_network_file_or_named(content):
    """Any bytes at all: the inspection knows no exception of its own, and agrees with Python about the syntax."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "network.py").write_bytes(content)
        problem = network_problem(Path(folder), "network.py")
    assert "network.py" in problem or b"build" in content or b"exec" in content or b"vars" in content
