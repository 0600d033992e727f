"""A ready ONNX file is checked, and packaged as it is."""

from __future__ import annotations

from types import SimpleNamespace

import onnx
import pytest
from hostile_graphs import halved, with_more

from tallywright.errors import SpecError
from tallywright.packaging.linear import linear_onnx
from tallywright.packaging.preprocess import Category, Preprocess
from tallywright.spec.sections import Training
from tallywright.training.estimators.protocol import FitTask
from tallywright.training.estimators.registry import make
from tallywright.training.objective import learn_objective

KNOWN = ("x", "y", "z")
PREPROCESS = Preprocess(numeric=("a", "b", "c"), categorical=(Category(column="k", categories=KNOWN),))


def graph(link="logistic", preprocess=PREPROCESS) -> bytes:
    return linear_onnx(preprocess, [0, 5, -50], [1, 10, 100], [1, 0.1, 0.2], [[0, 0.1, -1, 0, 1]], -0.5, link=link)


@pytest.fixture
def prepare(tmp_path, rows):
    """The estimator of a file with this content, and its task."""

    def build(content, task="binary", categories=KNOWN):
        (tmp_path / "model.onnx").write_bytes(content)
        spec = Training.model_validate(
            {
                "task": task, "target": "y", "numeric": ["a", "b", "c"], "categorical": ["k"], "window_days": 10,
                "validation_days": 2, "estimator": {"kind": "onnx", "categories": {"k": list(categories)}},
            }
        )  # fmt: skip
        project = SimpleNamespace(spec=SimpleNamespace(training=spec), folder=tmp_path)
        train = rows(task)
        return make(project, spec.estimators[0]), FitTask(
            objective=learn_objective(task, train.target, "none"),
            train=train,
            validation=None,
            codes=(5,),
            rounds=None,
            configuration="",
            checkpoint=tmp_path,
            doing=lambda _what, _limit: None,
        )

    return build


def test_a_file_is_taken_as_it_is_and_a_refit_is_the_same(prepare, rows):
    estimator, task = prepare(graph())
    fitted = estimator.fit(task)
    assert fitted.graph == graph()
    assert fitted.rounds == 1
    assert estimator.fit(task).graph == fitted.graph
    given = rows(seed=2)
    assert ((fitted.predict(given) > 0.5) == given.target).mean() > 0.6


def test_the_categories_are_those_of_the_file(prepare, tmp_path):
    import pyarrow as pa

    estimator, _ = prepare(graph(), categories=("z", "x", "never"))
    found = estimator.preprocess(pa.table({"a": [1.0], "b": [1.0], "c": [1.0], "k": ["x"]}))
    assert found.categories == {"k": ("z", "x", "never")}


def with_other_output(content: bytes) -> bytes:
    model = onnx.load_model_from_string(content)
    model.graph.output[0].name = "result"
    model.graph.node[-1].output[0] = "result"
    return model.SerializeToString()


def with_external_data(content: bytes) -> bytes:
    model = onnx.load_model_from_string(content)
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    tensor.ClearField("raw_data")
    return model.SerializeToString()


def with_the_batch_mean(content: bytes) -> bytes:
    """Scores times the mean of the batch."""
    model = onnx.load_model_from_string(content)
    model.graph.node[-1].output[0] = "plain"
    model.graph.node.extend(
        [
            onnx.helper.make_node("ReduceMean", ["plain"], ["mean"], keepdims=0),
            onnx.helper.make_node("Mul", ["plain", "mean"], ["score"]),
        ]
    )
    return model.SerializeToString()


def with_a_little_of_the_batch(content: bytes) -> bytes:
    """Scores of which the first row has its own, and the others a trace of it."""

    def more(model):
        model.initializer.extend(
            [
                onnx.helper.make_tensor("much", onnx.TensorProto.FLOAT, [], [0.9995]),
                onnx.helper.make_tensor("little", onnx.TensorProto.FLOAT, [], [0.0005]),
                onnx.helper.make_tensor("first", onnx.TensorProto.INT64, [], [0]),
            ]
        )
        return [
            onnx.helper.make_node("Gather", ["whole", "first"], ["top"]),
            onnx.helper.make_node("Mul", ["whole", "much"], ["most"]),
            onnx.helper.make_node("Mul", ["top", "little"], ["trace"]),
            onnx.helper.make_node("Add", ["most", "trace"], ["score"]),
        ]

    return with_more(content, more)


def test_rows_with_a_null_are_among_those_that_are_tried(prepare):
    """A mean over the batch is the same number without nulls where scores are, and none with one."""

    def more(model):
        del model
        return [
            onnx.helper.make_node("Sub", ["numeric", "numeric"], ["nothing"]),
            onnx.helper.make_node("ReduceSum", ["nothing"], ["none"], keepdims=0),
            onnx.helper.make_node("Add", ["whole", "none"], ["score"]),
        ]

    estimator, task = prepare(with_more(graph(), more))
    train = task.train
    train.numeric[:] = 1
    estimator.fit(task)
    train.numeric[-1, 0] = float("nan")
    assert len(train.target) > 310
    with pytest.raises(SpecError, match="depends on the rows beside it"):
        estimator.fit(task)


def test_a_score_that_only_padding_changes_is_refused(prepare):
    """The rows are all alike, so that their mean says nothing; a package fills its pieces up with zeros."""
    content = with_the_batch_mean(graph())
    estimator, task = prepare(content)
    task.train.numeric[:], task.train.categorical[:] = 60, 2
    with pytest.raises(SpecError, match="depends on the rows beside it"):
        estimator.fit(task)


NARROW = Preprocess(numeric=("a",), categorical=PREPROCESS.categorical)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"nothing", "is no ONNX model"),
        (b"", "is refused by ONNX Runtime"),
        (with_other_output(graph()), "gives {'result': 'tensor(float)'}"),
        (linear_onnx(NARROW, [0], [1], [1], [[0] * 5], 0), "expected inputs {'numeric': ('tensor(float)', 3)"),
        (with_external_data(graph()), "in a file beside it"),
        (halved(graph(), "attribute", "model.onnx"), "keeps half in a file beside it"),
        (halved(graph(), "subgraph", "model.onnx"), "keeps half in a file beside it"),
        (graph("identity"), "gives scores that are no probabilities"),
        (with_the_batch_mean(graph()), "a row's score depends on the rows beside it"),
        (with_a_little_of_the_batch(graph()), "a row's score depends on the rows beside it"),
    ],
    ids=[
        "no model",
        "empty",
        "output",
        "width",
        "external",
        "attribute",
        "subgraph",
        "probabilities",
        "batch",
        "a little",
    ],
)
def test_a_file_that_cannot_serve_is_refused(prepare, content, told):
    def fit():
        estimator, task = prepare(content)
        estimator.fit(task)

    with pytest.raises(SpecError) as refused:
        fit()
    assert told in refused.value.found
    assert "model.onnx" in refused.value.found


def test_a_regression_takes_any_number(prepare):
    estimator, task = prepare(graph("identity"), "regression")
    assert estimator.fit(task).graph == graph("identity")


def test_a_file_outside_of_the_project_or_too_large_is_refused(prepare, tmp_path, monkeypatch):
    from tallywright.training.estimators import ready_graph

    monkeypatch.setattr(ready_graph, "MOST_BYTES", 10)
    with pytest.raises(SpecError, match="at most 10 are packaged"):
        prepare(graph())
    (tmp_path / "inside").mkdir()
    spec = Training.model_validate(
        {"numeric": ["a"], "window_days": 10, "validation_days": 2, "estimator": {"kind": "onnx", "file": "link.onnx"}}
    )
    (tmp_path / "inside/link.onnx").symlink_to(tmp_path / "model.onnx")
    for folder in (tmp_path / "inside", tmp_path):
        with pytest.raises(SpecError, match="is no file in the model project"):
            make(SimpleNamespace(spec=SimpleNamespace(training=spec), folder=folder), spec.estimators[0])
