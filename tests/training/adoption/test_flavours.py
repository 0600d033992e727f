"""Which file of an MLflow model is read, and what is said about the others."""

from __future__ import annotations

import pytest
import yaml

from tallywright.errors import PackageError
from tallywright.spec.sections import Training
from tallywright.training.adoption.flavours import readable_file

SPEC = Training(numeric=("a", "b"), categorical=("k",))


def mlmodel(**flavours):
    """As MLflow 3 writes it, but for what says nothing about the file."""
    return yaml.safe_dump({"flavors": flavours, "mlflow_version": "3.17.2", "run_id": "0" * 32}).encode()


@pytest.mark.parametrize(
    ("flavour", "values", "found"),
    [
        ("onnx", {"data": "model.onnx", "onnx_version": "1.23.2"}, ("onnx", "model.onnx", False)),
        ("lightgbm", {"data": "model.lgb", "model_class": "lightgbm.basic.Booster"}, ("lightgbm", "model.lgb", False)),
        ("xgboost", {"data": "model.ubj", "model_class": "xgboost.core.Booster"}, ("xgboost", "model.ubj", False)),
        (
            "xgboost",
            {"data": "model.json", "model_class": "xgboost.sklearn.XGBClassifier"},
            ("xgboost", "model.json", True),
        ),
    ],
)
def test_a_file_that_is_data_is_read(flavour, values, found):
    text = mlmodel(**{flavour: values}, python_function={"loader_module": f"mlflow.{flavour}", "data": values["data"]})
    file = readable_file(text, "models:/m/1", SPEC)
    assert (file.library, file.path, file.best_rounds) == found


@pytest.mark.parametrize(
    ("flavours", "told", "line"),
    [
        (
            {"sklearn": {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}},
            "sklearn (model.pkl)",
            '("b", FloatTensorType([None, 1])), ("k", StringTensorType([None, 1]))]',
        ),
        ({"sklearn": {"pickled_model": "model.skops"}}, "sklearn (model.skops)", 'options={"zipmap": False}'),
        (
            {"pytorch": {"model_data": "data"}},
            "pytorch (data)",
            "torch.sigmoid(self.model(numeric, categorical).reshape(-1))",
        ),
        ({"lightgbm": {"data": "model.pkl"}}, "lightgbm (model.pkl)", 'registered_model_name="m"'),
        ({"lightgbm": {"data": "../../model.lgb"}}, "lightgbm (../../model.lgb)", "model.booster_"),
        ({"onnx": {"data": "/etc/model.onnx"}}, "onnx (/etc/model.onnx)", "to_onnx"),
        ({"python_function": {"python_model": "python_model.pkl"}}, "python_function", "to_onnx"),
    ],
)
def test_a_pickle_is_refused_with_the_lines_that_export_it(flavours, told, line):
    with pytest.raises(PackageError) as refused:
        readable_file(mlmodel(**flavours), "models:/m/1", SPEC)
    assert told in refused.value.found
    assert line in refused.value.remedy
    program = "\n".join(text[14:] for text in refused.value.remedy.splitlines()[1:])
    compile(program, "the lines", "exec")


def test_the_lines_for_a_network_do_not_end_in_another_refusal():
    """A network reads no texts, so that a file with an input for each column cannot be made of it."""
    told = []
    for training in (SPEC, SPEC.model_copy(update={"categorical": ()})):
        with pytest.raises(PackageError) as refused:
            readable_file(mlmodel(pytorch={"model_data": "data"}), "models:/m/1", training)
        told.append(refused.value.remedy)
    assert "not the texts of k: instead of adopting the file" in told[0]
    assert "torch.zeros(2, 2), torch.zeros(2, 1, dtype=torch.int64)" in told[0]
    assert "texts" not in told[1]
    assert "(torch.zeros(2, 2),)" in told[1]


def test_a_version_of_our_own_is_not_adopted():
    with pytest.raises(PackageError, match="a version that Tallywright has made"):
        readable_file(mlmodel(python_function={"loader_module": "tallywright.packaging.pyfunc"}), "models:/m/1", SPEC)


@pytest.mark.parametrize("text", [b"", b"flavors: 3", b"flavors: {a: 3}", b"[", b"\xff", b"flavors: !!python/none x"])
def test_what_is_no_mlmodel_is_said(text):
    with pytest.raises(PackageError, match="MLmodel file of models:/m/1 is none"):
        readable_file(text, "models:/m/1", SPEC)
