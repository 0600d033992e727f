"""What MLflow has saved, by its `MLmodel` file: which file of it is read without pickle, or how to export it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import PackageError

if TYPE_CHECKING:
    from tallywright.spec.sections import Training
    from tallywright.training.adoption.adopted import Library

MLMODEL: Final = "MLmodel"
_NATIVE: Final[dict[str, tuple[Library, tuple[str, ...]]]] = {
    "onnx": ("onnx", (".onnx",)),
    "lightgbm": ("lightgbm", (".lgb", ".txt")),
    "xgboost": ("xgboost", (".json", ".ubj", ".xgb")),
}
"""Flavours whose own file is data, and how the names of these files end."""
_OURS: Final = "tallywright.packaging.pyfunc"
_LONGEST: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Flavoured:
    """The file of an MLflow model that is read: its path below the model's folder, and what has written it."""

    library: Library
    path: str
    best_rounds: bool = False


def readable_file(text: bytes, address: str, training: Training) -> Flavoured:
    """The file to read.

    Args:
        text: Of the `MLmodel` file.
        address: Of the model, for the texts.
        training: The section of the spec, for the lines that export a model.

    Raises:
        PackageError: No flavour of it can be read without pickle; says by which lines it is exported to ONNX.
    """
    flavours = _flavours(text, address)
    for name, (library, endings) in _NATIVE.items():
        path = str(flavours.get(name, {}).get("data", ""))
        inside = not path.startswith("/") and ".." not in path.split("/")
        if path.endswith(endings) and inside:
            kept = str(flavours[name].get("model_class", ""))
            return Flavoured(library, path, best_rounds=library == "xgboost" and ".sklearn." in kept)
    if flavours.get("python_function", {}).get("loader_module") == _OURS:
        raise PackageError(
            f"{address} is a version that Tallywright has made",
            expected="a model that was trained elsewhere",
            remedy="`tally package` writes it as ONNX, and `tally adopt --onnx` takes that; in this model's own "
            "registry, `tally promote` is all it needs",
        )
    raise PackageError(
        f"{address} is kept as {_named(flavours)}, which is not read: loading a pickle runs what it says",
        expected="a flavour whose file is data: onnx, xgboost, or lightgbm of a Booster",
        remedy=f"export it where you trust it, and adopt the file:\n{_lines(flavours, address, training)}",
    )


def _flavours(text: bytes, address: str) -> dict[str, dict[str, Any]]:
    import yaml

    try:
        found = yaml.safe_load(text[:_LONGEST])["flavors"]
        return {str(name): dict(values) for name, values in found.items()}
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PackageError(
            f"the {MLMODEL} file of {address} is none: {type(error).__name__}", expected="a model that MLflow has saved"
        ) from error


def _named(flavours: dict[str, dict[str, Any]]) -> str:
    """The flavours, each with the file it is kept in."""
    shown = []
    for name, values in sorted(flavours.items()):
        keys = ("pickled_model", "data", "model_data", "model_path")
        kept = next((str(values[key]) for key in keys if values.get(key)), "")
        shown.append(f"{name} ({kept})" if kept else name)
    return ", ".join(shown)


def _lines(flavours: dict[str, dict[str, Any]], address: str, training: Training) -> str:
    """The lines of Python that export a model of these flavours with an input for each column of the spec."""
    if "pytorch" in flavours:
        lines = _of_torch(address, training)
    elif "lightgbm" in flavours:
        name = address.removeprefix("models:/").partition("/")[0]
        lines = [
            "import mlflow",
            f'model = mlflow.lightgbm.load_model("{address}")',
            f'mlflow.lightgbm.log_model(model.booster_, name="booster", registered_model_name="{name}")',
            "# a Booster is kept as text: adopt the version that this makes",
        ]
    else:
        lines = _of_sklearn(address, training)
    return "\n".join(f"              {line}" for line in lines)


def _of_sklearn(address: str, training: Training) -> list[str]:
    """With a matrix as input where all columns are numbers, as whatever is no ColumnTransformer wants it."""
    options = ', options={"zipmap": False}' if training.kind.classifies else ""
    if training.categorical:
        inputs, about = _input_of_each_column(training), "# one for each column"
    else:
        inputs = f'("numeric", FloatTensorType([None, {len(training.numeric)}]))'
        about = "# in the order of training.numeric; one for each column where it picks columns by name"
    return [
        "import mlflow",
        "from skl2onnx import to_onnx",
        "from skl2onnx.common.data_types import FloatTensorType, StringTensorType",
        f'model = mlflow.sklearn.load_model("{address}")',
        f"inputs = [{inputs}]  {about}",
        f"graph = to_onnx(model, initial_types=inputs{options})",
        'open("model.onnx", "wb").write(graph.SerializeToString())',
    ]


def _input_of_each_column(training: Training) -> str:
    numeric = [f'("{name}", FloatTensorType([None, 1]))' for name in training.numeric]
    texts = [f'("{name}", StringTensorType([None, 1]))' for name in training.categorical]
    return ", ".join([*numeric, *texts])


def _of_torch(address: str, training: Training) -> list[str]:
    """Where the spec has texts, which no network reads, the lines are for an estimator of kind `onnx`."""
    kind, texts = training.kind, training.categorical
    inputs = ["numeric"] * bool(training.numeric) + ["categorical"] * bool(texts)
    called = ", ".join(inputs)
    zeros = [f"torch.zeros(2, {len(training.numeric)})"] * bool(training.numeric)
    zeros += [f"torch.zeros(2, {len(texts)}, dtype=torch.int64)"] * bool(texts)
    score = f"torch.softmax(self.model({called}), dim=1)" if kind.per_class else f"self.model({called}).reshape(-1)"
    if kind.thresholds:
        score = f"torch.sigmoid({score})"
    named, rows = ", ".join(f'"{name}"' for name in inputs), '{0: "rows"}'
    axes = ", ".join(f'"{name}": {rows}' for name in (*inputs, "score"))
    return [
        *([f"# it reads codes, not the texts of {', '.join(texts)}: instead of adopting the file, name it and the",
           "# `categories` of its codes as training.estimator, of kind onnx, in the spec"] if texts else []),
        "import mlflow, torch",
        "class Scored(torch.nn.Module):   # of a network that gives logits, or values",
        "    def __init__(self):",
        "        super().__init__()",
        f'        self.model = mlflow.pytorch.load_model("{address}")',
        f"    def forward(self, {called}):",
        f"        return {score}",
        f'torch.onnx.export(Scored(), ({", ".join(zeros)},), "model.onnx", dynamo=False,',
        f'                  input_names=[{named}], output_names=["score"],',
        f"                  dynamic_axes={{{axes}}})",
    ]  # fmt: skip
