"""The model package: one immutable folder with everything that a score needs, and its origin.

Nothing in it is a pickle. `write_package` makes it, `load_package` accepts nothing else than what was written. A
machine keeps its packages by digest, so that scoring a day asks the registry only for what is not here yet.
"""

from __future__ import annotations

import json
import re
import shutil
import uuid
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import ValidationError

from tallywright.errors import PackageError, StorageError
from tallywright.observability import log
from tallywright.packaging.documents import mlmodel_text, model_card_text, requirements_text
from tallywright.packaging.manifest import (
    PackageManifest,
    Postprocess,
    check_environment,
    entry_of,
    input_schema,
    schema_from_json,
    schema_json,
    verified_file,
    verified_files,
)
from tallywright.packaging.meta import PackageMeta
from tallywright.packaging.preprocess import ModelInput, Preprocess
from tallywright.packaging.tensors import dump_tensors, parse_tensors
from tallywright.profiles.comparison import ReferenceDays
from tallywright.profiles.profile import PREDICTED_CLASS, Profile, ProfileDefinition
from tallywright.records import Meaning, Record
from tallywright.tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from tallywright.spec.demands import Demands

__all__ = ["Package", "PackageContents", "PackageMeta", "load_package", "write_package"]

R = TypeVar("R", bound=Record)
ONNX = "model.onnx"
WEIGHTS = "model.safetensors"
PARITY = "parity.safetensors"
INPUT_SCHEMA = "input_schema.json"
REFERENCE_DAYS = "reference_days.json"
"""Not in every package: one without it is compared by the spec's thresholds alone."""
DEMANDS: Final = "demands.json"
"""Not in packages of before: what they have to show is what the files say on the day."""
_SAMPLE: Final = ("numeric", "categorical", "expected")
"""The tensors of the sample."""
_LATER_FIELDS: Final = frozenset({"positive", "unit", "threshold", "fitted_through", "judged"})
"""Fields that older packages do not have: left out of a file where they say nothing, so its digest stays."""


@dataclass(frozen=True, slots=True)
class PackageContents:
    """The contents of a package to be written.

    `parity` is a sample of model inputs with the scores that training computed for it: [rows] or [rows, classes].
    `features` maps file names to the texts that define the features (SQL, the network's source). Without a `model_card`
    one is made from `meta`. `types` maps columns to their types in the feature table.
    """

    meta: PackageMeta
    preprocess: Preprocess
    onnx: bytes
    weights: Mapping[str, NDArray[Any]]
    definition: ProfileDefinition
    reference: Profile
    parity: tuple[ModelInput, NDArray[np.float32]]
    features: Mapping[str, str] = field(default_factory=dict)
    model_card: str = ""
    reference_days: ReferenceDays | None = None
    types: Mapping[str, pa.DataType] = field(default_factory=dict)
    demands: Demands | None = None


@dataclass(frozen=True, slots=True)
class Package:
    """A verified package on this machine's disk."""

    folder: Path
    manifest: PackageManifest
    digest: str
    meta: PackageMeta
    preprocess: Preprocess
    postprocess: Postprocess
    definition: ProfileDefinition
    reference: Profile
    reference_days: ReferenceDays | None = None
    stamp: frozenset[tuple[str, int, int, int]] = field(default=frozenset(), repr=False, compare=False)
    """What its files looked like before they were verified."""

    @property
    def untouched(self) -> bool:
        """True while no file has changed since it was verified, by names, sizes and times: cheaper than hashing."""
        return bool(self.stamp) and _stamp(self.folder) == self.stamp

    @property
    def onnx_path(self) -> Path:
        """The graph's file; to run it, take `read("model.onnx")`, which checks it once more."""
        return self.folder / ONNX

    @property
    def input_schema(self) -> pa.Schema:
        """The columns the model reads, with the types of the feature table where the package says them.

        Raises:
            PackageError: The file is none, or is about other columns.
        """
        schema = schema_from_json(self.read(INPUT_SCHEMA))
        if sorted(schema.names) != sorted(self.preprocess.columns):
            raise PackageError(
                f"package {self.folder}: {INPUT_SCHEMA} names {', '.join(schema.names) or 'no columns'}",
                expected=", ".join(self.preprocess.columns),
                remedy="package the model again",
            )
        return schema

    @property
    def output_schema(self) -> pa.Schema:
        """The columns a prediction has."""
        return self.postprocess.output_schema

    @property
    def meaning(self) -> Meaning:
        """What the columns of a prediction mean."""
        return self.postprocess.meaning(self.meta.target)

    @property
    def fitted_through(self) -> date:
        """The last date whose rows were fitted, tuned or early-stopped on: evidence comes from later ones.

        For packages of before, which do not say, it is the day before their holdout.
        """
        if self.meta.fitted_through is not None:
            return self.meta.fitted_through
        try:
            return date.fromisoformat(json.loads(self.meta.snapshot_json)["holdout_from"]) - timedelta(days=1)
        except (ValueError, KeyError, TypeError):
            return self.meta.trained_through

    def threshold(self, given: float) -> float:
        """The decision threshold: the package's own; `given`, the spec's, for one of the time before."""
        return given if self.postprocess.threshold is None else self.postprocess.threshold

    def read(self, name: str) -> bytes:
        """The content of one file, checked against the manifest at this moment.

        Raises:
            PackageError: The package has no such file, or it was altered.
        """
        if name not in self.manifest.files:
            raise PackageError(f"package {self.folder}: no {name}", remedy="package the model again")
        return verified_file(self.folder, name, self.manifest.files[name])

    @property
    def demands(self) -> Demands | None:
        """What the version has to show before it is promoted; None in packages of before.

        Raises:
            PackageError: The file was altered, or is of a later form.
        """
        from tallywright.spec.demands import Demands  # a worker that scores needs no spec

        if DEMANDS not in self.manifest.files:
            return None
        return _parse(self.folder, {DEMANDS: self.read(DEMANDS)}, Demands, DEMANDS)

    def weights(self) -> dict[str, NDArray[Any]]:
        """The network's parameters by name."""
        return parse_tensors(self.read(WEIGHTS), WEIGHTS)

    def parity(self) -> tuple[ModelInput, NDArray[np.float32]]:
        """The sample of model inputs, and the scores that training computed for it."""
        tensors = parse_tensors(self.read(PARITY), PARITY)
        missing = [name for name in _SAMPLE if name not in tensors]
        if missing:
            raise PackageError(
                f"package {self.folder}: {PARITY} lacks {', '.join(missing)}", remedy="package the model again"
            )
        numeric, categorical, expected = (tensors[name] for name in _SAMPLE)
        return ModelInput(numeric, categorical), expected


def write_package(folder: Path, contents: PackageContents) -> Package:
    """Writes the package to `folder` atomically; an older package there is replaced.

    Raises:
        PackageError: The parts do not fit one another, or something else than a package is in the way.
    """
    _check_parts(contents)
    check_environment(contents.meta.requirements)
    files = _files(contents)
    manifest = PackageManifest(files={name: entry_of(content) for name, content in sorted(files.items())})
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        for name, content in files.items():
            path = staged / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        manifest.write(staged)
        if folder.exists():
            _require_package(folder)
            shutil.rmtree(folder)
        staged.rename(folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return load_package(folder, digest=manifest.digest)


def load_package(folder: Path, *, digest: str | None = None) -> Package:
    """The package in `folder`, every file verified; with `digest`, only the package of that digest.

    Raises:
        PackageError: A missing, altered or foreign file, another digest, or an environment too old to run it.
    """
    stamp = _stamp(folder)
    manifest, files = verified_files(folder)
    if digest is not None and manifest.digest != digest:
        raise PackageError(
            f"package {folder} has the digest {manifest.digest[:16]}…",
            expected=f"{digest[:16]}…, the digest that was registered",
            remedy="take the package from the registry again; somebody swapped the folder",
        )
    package = Package(
        folder=folder,
        manifest=manifest,
        digest=manifest.digest,
        meta=_parse(folder, files, PackageMeta, "meta.json"),
        preprocess=_parse(folder, files, Preprocess, "preprocess.json"),
        postprocess=_parse(folder, files, Postprocess, "postprocess.json"),
        definition=_parse(folder, files, ProfileDefinition, "profile_definition.json"),
        reference=_parse(folder, files, Profile, "reference_profile.json"),
        reference_days=_parse(folder, files, ReferenceDays, REFERENCE_DAYS) if REFERENCE_DAYS in files else None,
        stamp=stamp,
    )
    _check_parts(package)
    check_environment(package.meta.requirements)
    return package


class PackageCache:
    """A cache folder of packages by digest; processes may share it without a lock.

    An entry comes into being by one rename of a complete folder and never changes. Whoever comes second finds it there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, digest: str) -> Package | None:
        """The verified package of a digest; None when it is not cached, or was altered (its entry is then removed)."""
        folder = self._folder(digest)
        if not folder.is_dir():
            return None
        try:
            return load_package(folder, digest=digest)
        except PackageError as error:
            log.warning("the cached package %s is set aside: %s", digest[:12], error.found)
            self._discard_altered(folder)
            return None

    def put(self, folder: Path) -> Package:
        """Copies the package in `folder` into the cache, unless it is there, and returns the cached one.

        Raises:
            PackageError: The folder is no valid package.
            StorageError: The cache cannot be written.
        """
        digest = load_package(folder).digest
        cached = self.get(digest)
        if cached is not None:
            return cached
        staged = self.root / f".{digest}.{uuid.uuid4().hex}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            shutil.copytree(folder, staged)
            self._enter(staged, digest)
        except (OSError, shutil.Error) as error:
            raise StorageError(
                f"the package cache {self.root} cannot be written: {error}",
                remedy="free some space, or point storage.cache to a folder that can be written",
            ) from error
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        return load_package(self._folder(digest), digest=digest)

    def _enter(self, staged: Path, digest: str) -> None:
        try:
            staged.rename(self._folder(digest))
        except OSError:
            # A folder that is not empty cannot be renamed over: another process entered the same package first.
            if not self._folder(digest).is_dir():
                raise

    def _discard_altered(self, folder: Path) -> None:
        """Removes an entry whose content has not its digest; renamed first, so that no reader sees half of one."""
        aside = self.root / f".altered.{uuid.uuid4().hex}"
        try:
            folder.rename(aside)
        except OSError:
            return
        shutil.rmtree(aside, ignore_errors=True)

    def _folder(self, digest: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise PackageError(f"not a package digest: {digest!r}", expected="64 hexadecimal digits")
        return self.root / digest


def _stamp(folder: Path) -> frozenset[tuple[str, int, int, int]]:
    """Name, size, time and inode of every file; the inode tells a file that was moved there with its old time."""
    found = ((path, path.stat()) for path in folder.rglob("*") if path.is_file())
    return frozenset((str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino) for path, stat in found)


def _files(contents: PackageContents) -> dict[str, bytes]:
    meta, preprocess = contents.meta, contents.preprocess
    postprocess = Postprocess.model_validate({name: getattr(meta, name) for name in Postprocess.model_fields})
    sample, expected = contents.parity
    parity: dict[str, NDArray[Any]] = {
        "numeric": sample.numeric,
        "categorical": sample.categorical,
        "expected": expected,
    }
    inputs = input_schema(preprocess, contents.types)
    texts = {
        "MLmodel": mlmodel_text(meta, inputs, postprocess),
        "requirements.txt": requirements_text(meta.requirements),
        "model_card.md": contents.model_card or model_card_text(meta, preprocess),
        "meta.json": _readable(meta),
        "preprocess.json": _readable(preprocess),
        "postprocess.json": _readable(postprocess),
        INPUT_SCHEMA: schema_json(inputs),
        "output_schema.json": schema_json(postprocess.output_schema),
        "profile_definition.json": _readable(contents.definition),
        "reference_profile.json": _readable(contents.reference),
        **{f"features/{name}": text for name, text in contents.features.items()},
    }
    if contents.reference_days is not None:
        texts[REFERENCE_DAYS] = _readable(contents.reference_days)
    if contents.demands is not None:
        texts[DEMANDS] = _readable(contents.demands)
    tensors = {WEIGHTS: dump_tensors(contents.weights), PARITY: dump_tensors(parity)}
    return {ONNX: contents.onnx} | tensors | {name: text.encode() for name, text in texts.items()}


def _readable(record: Record) -> str:
    values = record.model_dump(mode="json")
    for name in _LATER_FIELDS & values.keys():
        if values[name] == type(record).model_fields[name].default:
            del values[name]
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _parse(folder: Path, files: Mapping[str, bytes], cls: type[R], name: str) -> R:
    try:
        return cls.from_json(files[name].decode())
    except (KeyError, UnicodeDecodeError) as error:
        raise PackageError(f"package {folder}: no readable {name}", remedy="package the model again") from error
    except ValidationError as error:
        raise PackageError(
            f"package {folder}: {name} is not valid: {error.errors()[0]['msg']}",
            remedy="use the Tallywright that wrote it, or package the model again",
        ) from error


def _check_parts(parts: PackageContents | Package) -> None:
    preprocess, definition = parts.preprocess, parts.definition
    counted = [made for made in (parts.reference, parts.reference_days) if made is not None]
    counts_class = TASKS[parts.meta.task].per_class and PREDICTED_CLASS in definition.categorical
    behind = {PREDICTED_CLASS: parts.meta.classes} if counts_class else {}
    same = (
        tuple(definition.numeric) == preprocess.numeric
        and list(definition.categorical.items()) == [*preprocess.categories.items(), *behind.items()]
        and all(made.definition_digest == definition.digest for made in counted)
    )
    if not same:
        raise PackageError(
            "the profile definition, the reference profile and the preprocessing are not about the same columns",
            expected="equal columns in equal order, equal categories, a reference made with this definition",
            remedy="make all three from one `fit_preprocess`",
        )


def _require_package(folder: Path) -> None:
    if any(folder.iterdir()) and not (folder / "manifest.json").is_file():
        raise PackageError(
            f"{folder} is not empty and holds no package", remedy="choose another folder, or empty this one"
        )
