from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from tallywright.errors import InputError, PackageError, SpecError
from tallywright.training.networks.export import export_onnx, present_inputs
from tallywright.training.networks.module import NetworkDims, ScoringModule
from tallywright.training.objective import learn_objective
from tallywright.training.scaling import learn_scaling
from tallywright.training.user_code.source import find_network

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow

DIMS = NetworkDims(3, (5,), (8,), 0.0, 1)


def module_for(folder, numeric, categories, task="binary", target=(0, 1, 2)):
    classes = np.array(target if task == "multiclass" else target[:2])
    objective = learn_objective(task, classes, "none")
    scaling = learn_scaling(numeric, [f"x{i}" for i in range(numeric.shape[1])])
    dims = NetworkDims(scaling.width, categories, (8, 4), 0.1, objective.outputs)
    torch.manual_seed(0)
    return ScoringModule(find_network(folder, "network.py").build(dims), scaling, objective).eval()


def run(graph, numeric, categorical):
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(["score"], present_inputs(numeric, categorical))[0]


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_the_graph_has_the_promised_names_and_shapes(flights_folder, rows, task):
    data = rows()
    graph = export_onnx(module_for(flights_folder, data.numeric, (5,), task), data.numeric, data.categorical)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    assert [(each.name, each.type) for each in session.get_inputs()] == [
        ("numeric", "tensor(float)"),
        ("categorical", "tensor(int64)"),
    ]
    assert [(each.name, each.type) for each in session.get_outputs()] == [("score", "tensor(float)")]
    for count in (1, 2, 700):
        score = run(graph, data.numeric[:count], data.categorical[:count])
        assert score.shape == ((count, 3) if task == "multiclass" else (count,))
        assert np.isfinite(score).all()


@pytest.mark.parametrize("absent", ["numeric", "categorical"])
def test_a_matrix_without_columns_is_no_input(flights_folder, rows, absent):
    data = rows()
    numeric = data.numeric[:, :0] if absent == "numeric" else data.numeric
    categorical = data.categorical[:, :0] if absent == "categorical" else data.categorical
    categories = () if absent == "categorical" else (5,)
    graph = export_onnx(module_for(flights_folder, numeric, categories), numeric, categorical)
    names = [each.name for each in onnxruntime.InferenceSession(graph).get_inputs()]
    assert names == [{"numeric": "categorical", "categorical": "numeric"}[absent]]
    assert run(graph, numeric, categorical).shape == (700,)


def test_nulls_and_infinities_are_handled_inside_the_graph(flights_folder, rows):
    data = rows()
    graph = export_onnx(module_for(flights_folder, data.numeric, (5,)), data.numeric, data.categorical)
    strange = data.numeric[:6].copy()
    strange[0], strange[1], strange[2], strange[3] = np.nan, np.inf, -np.inf, 3e38
    score = run(graph, strange, data.categorical[:6])
    assert np.isfinite(score).all()
    # A null in a column that had none in training counts as the mean.
    as_null, as_mean = data.numeric[:2].copy(), data.numeric[:2].copy()
    as_null[:, 0], as_mean[:, 0] = np.nan, data.numeric[:, 0].astype(np.float64).mean()
    np.testing.assert_allclose(
        run(graph, as_null, data.categorical[:2]), run(graph, as_mean, data.categorical[:2]), atol=1e-6
    )


def test_a_row_has_the_same_bits_in_every_batch(flights_folder, rows):
    data = rows(count=3000)
    graph = export_onnx(module_for(flights_folder, data.numeric, (5,)), data.numeric, data.categorical)
    whole = run(graph, data.numeric, data.categorical)
    parts = [run(graph, data.numeric[i : i + 257], data.categorical[i : i + 257]) for i in range(0, 3000, 257)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_missing_indicators_only_where_training_has_nulls(rows):
    scaling = learn_scaling(rows().numeric, ["a", "b", "c"])
    assert scaling.missing == (1,)
    assert scaling.width == 4


def test_a_constant_column_is_not_blown_up():
    numeric = np.full((100, 1), 1e6 + 0.1, dtype=np.float32)
    assert learn_scaling(numeric, ["a"]).spread.tolist() == [1.0]


def test_a_column_of_nulls_is_refused():
    numeric = np.array([[1.0, np.nan], [2.0, np.nan]], dtype=np.float32)
    with pytest.raises(InputError, match="no value at all in the training rows of b"):
        learn_scaling(numeric, ["a", "b"])


def test_a_graph_that_froze_the_number_of_rows_is_refused(tmp_path, rows):
    (tmp_path / "network.py").write_text(
        "import torch\n"
        "class Odd(torch.nn.Module):\n"
        "    calls = 0\n"
        "    def forward(self, numeric, categorical):\n"
        "        Odd.calls += 1\n"
        "        return numeric[:, :1] * Odd.calls + categorical.float()\n"
        "def build(dims):\n"
        "    return Odd()\n"
    )
    data = rows()
    with pytest.raises(PackageError, match="differs from the torch network"):
        export_onnx(module_for(tmp_path, data.numeric, (5,)), data.numeric, data.categorical)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\n", "defines no function `build`"),
        ("def build(dims):\n    return 3\n", "gives a int"),
        ("def build(dims):\n    return dims.nothing\n", "line 2, in build: AttributeError"),
        ("def build(dims:\n", "line 1: SyntaxError"),
        ("import no_such_package_here\n", "line 1: ModuleNotFoundError"),
    ],
)
def test_a_bad_network_file_is_named(tmp_path, source, message):
    (tmp_path / "network.py").write_text(source)
    with pytest.raises(SpecError, match=message) as caught:
        find_network(tmp_path, "network.py").build(DIMS)
    assert "build(dims" in str(caught.value)
    assert str(tmp_path / "network.py") in str(caught.value)


def test_a_network_outside_of_the_project_is_refused(tmp_path):
    (tmp_path / "elsewhere.py").write_text("")
    project = tmp_path / "project"
    project.mkdir()
    (project / "network.py").symlink_to(tmp_path / "elsewhere.py")
    with pytest.raises(SpecError, match="outside of the model project"):
        find_network(project, "network.py")
    with pytest.raises(SpecError, match="does not exist"):
        find_network(project, "other.py")


@pytest.mark.parametrize(
    ("task", "target", "message"),
    [
        ("binary", [0, 0, 0], "has the values"),
        ("binary", [0, 1, 2], "has the values"),
        ("multiclass", [-1, 0, 1], "has the values"),
        ("multiclass", [0.5, 1.0], "has the values"),
        ("regression", [1.0, np.inf], "not finite"),
    ],
)
def test_targets_that_cannot_be_learnt_are_refused(task, target, message):
    with pytest.raises(InputError, match=message):
        learn_objective(task, np.array(target), "none")


def test_a_class_that_training_never_saw_is_refused():
    objective = learn_objective("multiclass", np.array([0, 1, 1]), "none")
    with pytest.raises(InputError, match=r"values \[2\]"):
        objective.encode(np.array([0, 2]))


@pytest.mark.parametrize(
    ("task", "positive", "target", "classes", "codes"),
    [
        ("binary", "", [0, 1, 1], (0, 1), [0, 1, 1]),
        ("binary", "", [0.0, 1.0, 1.0], (0, 1), [0, 1, 1]),
        ("binary", "yes", ["no", "yes", "no"], ("no", "yes"), [0, 1, 0]),
        ("binary", "ja", ["ja", "nein", "ja"], ("nein", "ja"), [1, 0, 1]),
        ("binary", "1", [2, 1, 1], (2, 1), [0, 1, 1]),
        ("multiclass", "", ["übel", "gut", "übel"], ("gut", "übel"), [1, 0, 1]),
        ("multiclass", "", [7, 3, 3], (3, 7), [1, 0, 0]),
    ],
)
def test_classes_are_learnt_from_labels_of_any_kind_the_positive_one_last(task, positive, target, classes, codes):
    objective = learn_objective(task, np.array(target), "balanced", positive=positive)
    assert objective.classes == classes
    assert objective.encode(np.array(target)).tolist() == codes
    counts = [np.mean(np.array(target) == one) for one in classes]
    assert np.argmax(objective.weights) == np.argmin(counts)
    unknown = np.array(["nobody", target[0]] if isinstance(target[0], str) else [99, target[0]])
    assert objective.numbered(unknown).tolist() == [-1, codes[0]]


@pytest.mark.parametrize(
    ("task", "positive", "target", "expected"),
    [
        ("binary", "", ["no", "yes"], "both 0 and 1"),
        ("binary", "yes", ["no", "ja"], "both 'yes' and one other class"),
        ("binary", "yes", ["no", "yes", "maybe"], "both 'yes' and one other class"),
        ("regression", "", ["long", "short"], "a finite number"),
        ("multiclass", "", ["a", "a"], "at least two of them"),
    ],
)
def test_labels_of_another_task_cannot_be_learnt(task, positive, target, expected):
    with pytest.raises(InputError, match="has the values") as caught:
        learn_objective(task, np.array(target), "none", positive=positive)
    assert expected in caught.value.expected
