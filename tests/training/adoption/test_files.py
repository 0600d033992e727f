"""Files of other teams become graphs that score as their own libraries do; what does not fit is said."""

from __future__ import annotations

import hashlib
import re
from datetime import date
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pyarrow as pa
import pytest
from foreign_models import VALUES, frame, lightgbm_text, sklearn_onnx, xgboost_model
from hostile_graphs import HALF, branching, with_more

from tallywright.errors import PackageError
from tallywright.packaging.linear import linear_onnx
from tallywright.packaging.preprocess import Category, Preprocess
from tallywright.spec.sections import Training
from tallywright.training.adoption.adopted import Adopted, AdoptedModel
from tallywright.training.estimators.protocol import FitTask
from tallywright.training.matrices import make_split
from tallywright.training.objective import learn_objective

CODED = Preprocess(numeric=("a", "b"), categorical=(Category(column="k", categories=("x",)),))
TASKS = ("binary", "multiclass", "regression")


@pytest.fixture
def adopt(tmp_path):
    """Adopts a file for a project of the columns a, b and k; returns what is fitted, and rows with unseen values."""

    def run(content, library, task="binary", *, numeric=("a", "b"), categorical=("k",), best_rounds=False):
        (tmp_path / "file").write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        adopted = Adopted(tmp_path / "file", library, sha256, "file:///elsewhere", "me", date(2024, 1, 1), best_rounds)
        spec = Training.model_validate(
            {"task": task, "target": "y", "numeric": numeric, "categorical": categorical, "window_days": 10,
             "validation_days": 2}
        )  # fmt: skip
        model = AdoptedModel(SimpleNamespace(spec=SimpleNamespace(training=spec)), adopted)
        rows, target = frame(task, 300, 9)
        rows.loc[:20, "k"] = "never seen"
        table = pa.table({**{name: rows[name] for name in "abk"}, "y": target})
        split = make_split(spec, model.preprocess(table.slice(50)), table)
        objective = learn_objective(task, split.rows.target, "none")
        task_of = FitTask(
            objective=objective, train=split.rows, validation=None, codes=(), rounds=None, configuration="",
            checkpoint=tmp_path, doing=lambda _what, _limit: None,
        )  # fmt: skip
        return model.fit(task_of), split.rows

    return run


def scores_of(graph, rows):
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    feed = {"numeric": rows.numeric, "categorical": rows.categorical}
    return session.run(["score"], {name: matrix for name, matrix in feed.items() if matrix.shape[1]})[0]


def require_equal(fitted, rows):
    """The graph scores as the library does, nulls and unseen values included; and not all rows alike."""
    found, own = scores_of(fitted.graph, rows), np.asarray(fitted.predict(rows))
    assert found.shape == own.shape
    assert np.abs(found - own).max() <= fitted.tolerance * max(1, np.abs(found).max())
    assert np.ptp(found.reshape(len(found), -1)[:, 0]) > 0.1


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("library", "content"),
    [("lightgbm", lightgbm_text), ("xgboost", xgboost_model), ("onnx", sklearn_onnx)],
    ids=["lightgbm", "xgboost", "onnx"],
)
def test_a_file_scores_as_its_library_does(adopt, library, content, task):
    require_equal(*adopt(content(task), library, task))


def test_ubjson_and_the_best_rounds_alone(adopt):
    import xgboost

    content = xgboost_model("binary", "ubj")
    every, rows = adopt(content, "xgboost")
    booster = xgboost.Booster()
    booster.load_model(bytearray(content))
    booster.set_attr(best_iteration="1")
    best, _ = adopt(bytes(booster.save_raw("json")), "xgboost", best_rounds=True)
    require_equal(best, rows)
    assert not np.array_equal(scores_of(best.graph, rows), scores_of(every.graph, rows))


def test_columns_without_names_are_those_of_the_spec_in_order(adopt):
    only_numbers = {"numeric": ("a", "b"), "categorical": ()}
    require_equal(*adopt(lightgbm_text("binary", columns=("a", "b"), rows="matrix"), "lightgbm", **only_numbers))
    require_equal(*adopt(sklearn_onnx("binary", ("a", "b")), "onnx", **only_numbers))


def test_a_graph_with_the_ends_of_a_package_is_taken_as_it_is(adopt):
    preprocess = Preprocess(numeric=("a", "b"), categorical=())
    graph = linear_onnx(preprocess, [0, 0], [1, 1], [1, 0.5], [], -0.5)
    fitted, _ = adopt(graph, "onnx", numeric=("a", "b"), categorical=())
    assert fitted.graph == graph


def test_the_codes_of_trees_are_those_of_the_file(adopt):
    for library, content in (("lightgbm", lightgbm_text), ("xgboost", xgboost_model)):
        fitted, rows = adopt(content("binary"), library)
        assert set(rows.categorical[:20, 0]) == {1}, library  # never seen
        assert rows.categorical.max() == len(VALUES) + 1, library
        assert fitted.rounds == 1


@pytest.mark.parametrize(
    ("library", "content", "given", "told"),
    [
        ("onnx", lambda: b"nothing", {}, "is no ONNX model"),
        ("lightgbm", lambda: b"nothing", {}, "is no model that LightGBM has saved as text"),
        ("xgboost", lambda: b"nothing", {}, "is no model that XGBoost has saved"),
        ("lightgbm", lambda: lightgbm_text("binary"), {"numeric": ("a", "b", "c")}, "does not read c"),
        ("xgboost", lambda: xgboost_model("binary"), {"numeric": ("a",)}, "reads b"),
        ("onnx", lambda: sklearn_onnx("binary"), {"numeric": ("b",), "categorical": ("k", "c")},
         "does not read c and reads a"),
        ("onnx", lambda: sklearn_onnx("binary", ("a", "b")), {},
         "reads one matrix, and the spec has the categorical columns k"),
        ("onnx", lambda: sklearn_onnx("binary", ("a", "b")),
         {"numeric": ("a", "b", "k"), "categorical": ()}, "[rows, 3]"),
        ("onnx", lambda: linear_onnx(CODED, [0, 0], [1, 1], [1, 1], [[0, 0, 1]], 0), {}, "reads codes of categories"),
        ("onnx", lambda: sklearn_onnx("binary", zipmap=True), {}, "'zipmap': False"),
        ("onnx", lambda: sklearn_onnx("multiclass"), {"task": "binary"},
         "of the shape [50, 3]; expected 1 or 2 columns"),
        ("lightgbm", lambda: lightgbm_text("regression"), {"task": "binary"}, "is of the objective regression"),
        ("xgboost", lambda: xgboost_model("binary"), {"task": "multiclass"}, "is of the objective binary:logistic"),
        ("lightgbm", lambda: lightgbm_text("binary", sigmoid=2), {}, "only sigmoid:1 is read"),
        ("lightgbm", lambda: lightgbm_text("regression", linear_tree=True, columns=("a", "b")),
         {"task": "regression", "categorical": ()}, "linear models in its leaves"),
        ("lightgbm", lambda: lightgbm_text("binary", boosting="rf", bagging_freq=1, bagging_fraction=0.5), {},
         "is a forest"),
        ("xgboost", lambda: xgboost_model("binary", booster="dart"), {}, "of the booster dart"),
        ("lightgbm", lambda: lightgbm_text("binary", columns=("b", "a")), {"numeric": ("a",), "categorical": ("b",)},
         "names the values of 0 categorical columns"),
        ("lightgbm", lambda: lightgbm_text("binary").replace(b'[["z"', b"[[2.5"), {}, "has the categories [2.5, 'x'"),
        ("lightgbm", lambda: lightgbm_text("binary").partition(b"Tree=1\n")[0], {}, "is cut off"),
        ("lightgbm", lambda: lightgbm_text("binary").partition(b"end of trees")[0], {}, "is cut off"),
        ("lightgbm", lambda: lightgbm_text("binary").partition(b"end of parameters")[0], {}, "is cut off"),
        ("lightgbm", lambda: lightgbm_text("binary").replace(b"leaf_value=", b"leaf_value=1"), {}, "is cut off"),
        ("lightgbm", lambda: lightgbm_text("binary").replace(b"left_child=1 ", b"left_child=0 "), {},
         "that leads into itself"),
        ("lightgbm", lambda: re.sub(rb"split_feature=\d", b"split_feature=9", lightgbm_text("binary")), {},
         "with a split on a column, or to a node, that there is not"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(adopt, library, content, given, told):
    with pytest.raises(PackageError) as refused:
        adopt(content(), library, **given)
    assert told in refused.value.found
    assert "file:///elsewhere" in refused.value.found


def test_a_file_that_was_exchanged_is_not_read(adopt, tmp_path):
    adopted = Adopted(tmp_path / "file", "onnx", "0" * 64, "file:///elsewhere", "me", date(2024, 1, 1))
    (tmp_path / "file").write_bytes(b"another")
    with pytest.raises(PackageError, match="another file by now"):
        AdoptedModel(SimpleNamespace(spec=SimpleNamespace(training=Training(numeric=("a",)))), adopted)


def test_names_that_the_graph_uses_itself_are_no_problem(adopt):
    """The graph's own tensors may have the names of a package's inputs."""
    import onnx

    model = onnx.load_model_from_string(sklearn_onnx("binary", ("a", "b")))
    names = {name for node in model.graph.node for name in (*node.input, *node.output)}
    inner = next(name for name in names if name not in {"X", "label", "probabilities", ""})
    for node in model.graph.node:
        for side in (node.input, node.output):
            for place, name in enumerate(side):
                side[place] = {inner: "numeric"}.get(name, name)
    for tensor in model.graph.initializer:
        tensor.name = {inner: "numeric"}.get(tensor.name, tensor.name)
    require_equal(*adopt(model.SerializeToString(), "onnx", numeric=("a", "b"), categorical=()))


def test_a_branch_that_reads_what_is_around_it_is_renamed_with_it(adopt):
    """It alone reads one of the constants around it, and the file's input by itself."""
    import onnx
    from onnx import TensorProto, helper

    half = helper.make_tensor("half", TensorProto.FLOAT, [len(HALF) // 4], HALF, raw=True)
    plain = linear_onnx(Preprocess(numeric=("a", "b"), categorical=()), [0, 0], [1, 1], [1, 0.5], [], -0.5)
    model = onnx.load_model_from_string(with_more(plain, lambda graph: branching(graph, half)))
    model.graph.output[0].name = model.graph.node[-1].output[0] = "result"
    branch = model.graph.node[-1].attribute[0].g
    branch.node[-1].output[0] = "product"
    model.graph.initializer.append(helper.make_tensor("none", TensorProto.FLOAT, [], [0.0]))
    branch.node.extend(
        [
            helper.make_node("Size", ["numeric"], ["size"]),
            helper.make_node("Cast", ["size"], ["number"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["number", "none"], ["nothing"]),
        ]
    )
    branch.node.append(helper.make_node("Add", ["product", "nothing"], ["out"]))
    model.graph.node[-1].attribute[1].g.CopyFrom(branch)
    fitted, rows = adopt(model.SerializeToString(), "onnx", numeric=("a", "b"), categorical=())
    assert fitted.graph != model.SerializeToString()
    require_equal(fitted, rows)
