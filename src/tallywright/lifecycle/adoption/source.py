"""Where an adopted model is taken from: a file of this machine, or a version of an MLflow registry."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from tallywright.errors import PackageError, UsageError, first_line
from tallywright.redaction import without_credentials
from tallywright.registry.foreign import fetch_file, version_address
from tallywright.training.adoption.adopted import Adopted
from tallywright.training.adoption.flavours import MLMODEL, readable_file
from tallywright.training.estimators.outside_tensors import outside_tensors
from tallywright.training.estimators.ready_graph import MOST_BYTES

if TYPE_CHECKING:
    from datetime import date

    from tallywright.spec import Project
    from tallywright.training.adoption.adopted import Library

_PICKLES: Final = {b"\x80": "a pickle", b"PK": "a zip archive, as torch and joblib write pickles"}


@dataclass(frozen=True, slots=True)
class AdoptionRequest:
    """What is to be adopted: a file or an address, who asks, and what the model has seen by their word."""

    onnx: Path | None
    mlflow: str
    trained_through: date
    by: str

    def require_seen_before(self, day: date) -> None:
        """Refuses what can have no holdout, before anything is written.

        Raises:
            UsageError: The model has seen rows of the as-of date or later.
        """
        if self.trained_through >= day:
            raise UsageError(
                f"by --trained-through the model has seen rows through {self.trained_through}, and --date is {day}",
                expected="an as-of date with a whole holdout after the last date that it has seen",
                remedy="give a later --date",
            )


def fetched(project: Project, request: AdoptionRequest, work: Path) -> Adopted:
    """The model's file, in the folder `work` under its digest.

    Raises:
        UsageError: No source, or two; no such file, address or version.
        PackageError: It is a pickle, or cannot be read without one; empty, or too large.
        TrackingError: MLflow is away.
    """
    if (request.onnx is None) == (not request.mlflow):
        raise UsageError("two sources, or none", expected="one of --onnx FILE and --mlflow models:/NAME/VERSION")
    best_rounds = False
    work.mkdir(parents=True, exist_ok=True)
    if request.onnx is not None:
        library: Library = "onnx"
        file, source = request.onnx, request.onnx.resolve().as_uri()
        if not file.is_file():
            raise UsageError(f"there is no file {file}", expected="an ONNX file")
        content = _content(file, library, source)
    else:
        source = version_address(project, request.mlflow)
        with TemporaryDirectory(prefix="mlflow-", dir=work) as folder:
            text = fetch_file(project, source, MLMODEL, Path(folder)).read_bytes()
            found = readable_file(text, source, project.spec.training)
            library, best_rounds = found.library, found.best_rounds
            # An ONNX file may keep its tensors in another one.
            whole = library == "onnx"
            file = fetch_file(project, source, "" if whole else found.path, Path(folder))
            content = _content(file / found.path if whole else file, library, source)
    sha256 = hashlib.sha256(content).hexdigest()
    kept = work / f"{sha256}.{library}"
    kept.write_bytes(content)
    source = without_credentials(source)
    return Adopted(kept, library, sha256, source, request.by, request.trained_through, best_rounds)


def _content(file: Path, library: Library, source: str) -> bytes:
    """A file as one text of bytes; tensors that lie beside an ONNX file are taken in.

    Raises:
        PackageError: It is empty, a pickle, too large, or tensors beside it cannot be read.
    """
    size = file.stat().st_size
    if size > MOST_BYTES:
        raise PackageError(f"{source} has {size:,} bytes", expected=f"at most {MOST_BYTES:,}")
    content = file.read_bytes()
    if not content:
        raise PackageError(f"{source} is empty", expected="the file of a model")
    pickled = next((what for start, what in _PICKLES.items() if content.startswith(start)), "")
    if pickled:
        raise PackageError(
            f"{source} is {pickled}",
            expected="an ONNX file: a pickle is never loaded, as loading it runs what it says",
            remedy="export the model to ONNX where you trust it: docs/adopt.md has the lines",
        )
    return _with_tensors(file, content, source) if library == "onnx" else content


def _with_tensors(file: Path, content: bytes, source: str) -> bytes:
    import onnx
    from onnx.external_data_helper import load_external_data_for_tensor

    size = len(content)
    try:
        model = onnx.load_model_from_string(content)
        outside = list(outside_tensors(model))
        for one in outside:
            load_external_data_for_tensor(one, str(file.parent))
            size += len(one.raw_data)
            if size > MOST_BYTES:
                break
        else:
            return model.SerializeToString(deterministic=True) if outside else content
    except Exception as error:
        raise PackageError(
            f"{source} cannot be read as ONNX: {first_line(error)}",
            expected="an ONNX file, with its data beside it if it has some",
        ) from error
    raise PackageError(f"{source} has more than {size:,} bytes with its data", expected=f"at most {MOST_BYTES:,}")
