"""A synthetic model project for tests, fault drivers and benchmarks: spec, package, features of a day, requests.

Everything is a function of its arguments, so that another process can make the very same world again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from deltalake import DeltaTable

from tallywright.data.delta.generation import content_transaction
from tallywright.data.delta.handles import description_of
from tallywright.data.delta.lake import Change, Lake
from tallywright.data.fingerprint import digest
from tallywright.data.storage.filesystem import filesystem_of
from tallywright.data.types import period_schema
from tallywright.packaging.meta import PackageMeta
from tallywright.packaging.package import Package, PackageContents, load_package, write_package
from tallywright.packaging.preprocess import Category, Preprocess
from tallywright.profiles.accumulate import Accumulator
from tallywright.profiles.profile import define
from tallywright.records import InputVersion, Manifest, ModelRef, Role, digest_of
from tallywright.score_period import columns_of as period_columns
from tallywright.scoring.commit.profile_table import ProfileRow, read_profiles
from tallywright.scoring.prepare import ScoreRequest
from tallywright.spec import Project, load_project
from tallywright.spec.demands import Demands
from tallywright.spec.model import ModelSpec

DAY = date(2024, 3, 1)
COLORS = ("blue", "grün", "red", "赤")
HIDDEN = 16


def columns_of(numeric: int, categorical: int) -> tuple[list[str], list[str]]:
    return [f"x{index}" for index in range(numeric)], [f"c{index}" for index in range(categorical)]


def make_spec(numeric: int = 4, categorical: int = 2, **sections: Mapping[str, Any]) -> ModelSpec:
    """A spec named `shop`; `sections` replace (parts of) its sections."""
    numbers, texts = columns_of(numeric, categorical)
    values: dict[str, Any] = {
        "name": "shop",
        "description": "A synthetic binary model.",
        "owner": {"name": "Tests", "email": "tests@example.com"},
        "schedule": {"start_date": date(2024, 1, 1)},
        "data": {
            "sources": {"raw": {"path": "raw.csv"}},
            "key": ["order_id"],
            "columns": {"order_id": "VARCHAR", "score_moment": "TIMESTAMP"}
            | dict.fromkeys(numbers, "DOUBLE")
            | dict.fromkeys(texts, "VARCHAR"),
        },
        "training": {"numeric": numbers, "categorical": texts},
    }
    for name, section in sections.items():
        values[name] = values.get(name, {}) | dict(section)
    return ModelSpec.model_validate(values)


def make_features(rows: int, *, seed: int = 0, numeric: int = 4, categorical: int = 2) -> pa.Table:
    """The features of one day with nulls, NaN, infinities, unseen categories and texts in several scripts."""
    random = np.random.default_rng(seed)
    numbers, texts = columns_of(numeric, categorical)
    columns: dict[str, Any] = {
        "order_id": pa.array([f"öрд-{seed}-{row:07d}" for row in range(rows)]),
        "score_moment": pa.array(np.full(rows, 1_709_251_200_000_000), pa.timestamp("us", tz="UTC")),
    }
    for name in numbers:
        values = random.normal(size=rows)
        values[random.random(rows) < 0.01] = np.nan
        values[random.random(rows) < 0.01] = np.inf
        columns[name] = pa.array(values, mask=random.random(rows) < 0.02)
    for name in texts:
        codes = random.integers(0, len(COLORS) + 1, size=rows)
        chosen = np.array([*COLORS, "ünseen"], dtype=object)[codes]
        columns[name] = pa.array(chosen, pa.string(), mask=random.random(rows) < 0.02)
    return pa.table(columns)


CLASSES = ("no", "ja", "weiß nicht")


def make_package(  # noqa: PLR0913 - a world has many knobs
    folder: Path,
    *,
    numeric: int = 4,
    categorical: int = 2,
    seed: int = 0,
    fault: str = "",
    through: date | None = None,
    task: str = "binary",
    demands: Demands | None = None,
    **told: Any,
) -> Package:
    """A package whose graph is a small network with embeddings; another seed is another model; `fault` as `network`.

    `told` are other fields of its metadata, such as its classes (three of a multiclass model) or its threshold.
    """
    if (folder / "manifest.json").is_file():
        return load_package(folder)
    numbers, texts = columns_of(numeric, categorical)
    preprocess = Preprocess(
        numeric=tuple(numbers), categorical=tuple(Category(column=name, categories=COLORS) for name in texts)
    )
    sample = preprocess.transform(_batch(make_features(500, seed=99, numeric=numeric, categorical=categorical)))
    scores = np.linspace(0.01, 0.99, sample.rows, dtype=np.float32)
    parity = np.repeat(scores[:, None], len(CLASSES), axis=1) if task == "multiclass" else scores
    definition = define(
        {name: sample.numeric[:, index] for index, name in enumerate(numbers)},
        dict.fromkeys(texts, COLORS),
        scores,
        10,
    )
    reference = Accumulator(definition)
    reference.update(sample.numeric, sample.categorical, scores)
    values: dict[str, Any] = {
        "model": "shop",
        "task": task,
        "target": "label",
        "classes": CLASSES if task == "multiclass" else (),
        "key": ("order_id",),
        "trained_through": through or date(2024, 1, 31),
        "created_at": datetime(2024, 2, 1, tzinfo=UTC),
        "snapshot_json": '{"features": 1, "labels": 1, "train_from": "2024-01-01", "holdout_to": "2024-01-31"}',
    }
    meta = PackageMeta(**(values | told))
    return write_package(
        folder,
        PackageContents(
            meta=meta,
            preprocess=preprocess,
            onnx=network(numeric, categorical, seed=seed, fault=fault, task=task),
            weights={"seed": np.array([seed], dtype=np.float32)},
            definition=definition,
            reference=reference.profile(),
            parity=(sample, parity),
            demands=demands,
        ),
    )


def network(
    numeric: int, categorical: int, *, seed: int = 0, broken: bool = False, fault: str = "", task: str = "binary"
) -> bytes:
    """Embeddings and clipped numbers through one hidden layer; a broken one answers with 2 instead of a share.

    With a fault, rows whose `c0` was not seen in training get 2 more (`output`), or make the graph fail (`prediction`;
    `unread`, too, but for a reason that nobody can read from the graph's indices).
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(seed)
    width = numeric + 3 * categorical
    outputs = len(CLASSES) if task == "multiclass" else 1

    def constant(name: str, values: Any) -> onnx.TensorProto:
        return numpy_helper.from_array(np.asarray(values, dtype=np.float32), name)

    weights = [
        constant("zero", 0.0),
        constant("low", -10.0),
        constant("high", 10.0),
        constant("w1", random.normal(size=(width, HIDDEN)) / 3),
        constant("b1", random.normal(size=HIDDEN) / 3),
        constant("w2", random.normal(size=(HIDDEN, outputs)) / 2),
        constant("b2", [3.0 if broken else 0.0] * outputs),
        numpy_helper.from_array(np.array([1], dtype=np.int64), "axis"),
    ]
    nodes = [
        helper.make_node("IsNaN", ["numeric"], ["nan"]),
        helper.make_node("Where", ["nan", "zero", "numeric"], ["filled"]),
        helper.make_node("Clip", ["filled", "low", "high"], ["clipped"]),
    ]
    for index in range(categorical):
        weights.append(constant(f"e{index}", random.normal(size=(len(COLORS) + 2, 3))))
        weights.append(numpy_helper.from_array(np.array(index, dtype=np.int64), f"i{index}"))
        nodes.append(helper.make_node("Gather", ["categorical", f"i{index}"], [f"code{index}"], axis=1))
        nodes.append(helper.make_node("Gather", [f"e{index}", f"code{index}"], [f"embedded{index}"]))
    nodes += [
        helper.make_node("Concat", ["clipped", *(f"embedded{i}" for i in range(categorical))], ["all"], axis=1),
        helper.make_node("Gemm", ["all", "w1", "b1"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "w2", "b2"], ["logit"]),
        *_head("regression" if broken else task, "sound" if fault else "score"),
    ]
    if fault:
        # Only row 0 of `more` exists: place 9 is out of bounds, and the graph fails.
        more, place = ([0.0, 2.0], 1) if fault == "output" else ([0.0], 9)
        weights += [
            constant("more", more),
            numpy_helper.from_array(np.array(1, dtype=np.int64), "unseen"),
            numpy_helper.from_array(np.array(place, dtype=np.int64), "place"),
            numpy_helper.from_array(np.array(0, dtype=np.int64), "first"),
        ]
        nodes += [
            helper.make_node("Equal", ["code0", "unseen"], ["is_unseen"]),
            helper.make_node("Where", ["is_unseen", "place", "first"], ["where"]),
            *_moved(fault),
            helper.make_node("Gather", ["more", "moved"], ["added"]),
            helper.make_node("Add", ["sound", "added"], ["score"]),
        ]
    inputs = [helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["n", numeric])]
    if categorical:
        inputs.append(helper.make_tensor_value_info("categorical", TensorProto.INT64, ["n", categorical]))
    shape = ["n", outputs] if task == "multiclass" else ["n"]
    output = helper.make_tensor_value_info("score", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "network", inputs, [output], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _moved(fault: str) -> list[Any]:
    """Passes the places on; `unread` through a root, after which indices are not taken from the graph alone."""
    from onnx import TensorProto, helper

    if fault != "unread":
        return [helper.make_node("Identity", ["where"], ["moved"])]
    return [
        helper.make_node("Cast", ["where"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Sqrt", ["wide"], ["root"]),
        helper.make_node("Cast", ["root"], ["moved"], to=TensorProto.INT64),
    ]


def _head(task: str, name: str) -> list[Any]:
    """The last nodes, from the logits to the scores, which get this name."""
    from onnx import helper

    if task == "multiclass":
        return [helper.make_node("Softmax", ["logit"], [name], axis=1)]
    link = "Sigmoid" if task == "binary" else "Relu"
    return [helper.make_node(link, ["logit"], ["share"]), helper.make_node("Squeeze", ["share", "axis"], [name])]


def make_project(root: Path, **sections: Mapping[str, Any]) -> Project:
    """A project folder of the spec that `make_spec` makes, loaded; it has no suite and no data yet."""
    for folder in ("models/shop", "conf", "expectations"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    values = make_spec(**sections).model_dump(mode="json", exclude_none=True)
    (root / "models/shop/model.yaml").write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    (root / "conf/local.yaml").write_text("{}\n")
    return load_project("shop", root=root, environment="local")


def commit_day(lake: Lake, spec: ModelSpec, features: pa.Table, *, day: date = DAY) -> None:
    """Commits a day of the feature table with ingest's app transaction, but without an input record."""
    table = spec.table("features")
    dated = features.append_column("score_date", pa.array([day] * features.num_rows, pa.date32()))
    change = Change(table, dated, {"score_date": day}, ("score_date",), {}, content_transaction(table, day))
    change = replace(change, description=description_of(spec.schedule.calendar.cadence))
    lake.commit(change, lake.handle(change))


def put_day(lake: Lake, spec: ModelSpec, features: pa.Table, *, day: date = DAY) -> InputVersion:
    """Writes a period of the feature table as ingest does, and its input record."""
    dated, period = features, period_columns({"score_date": day})
    for column in period_schema(spec):
        dated = dated.append_column(column, pa.array([period[column.name]] * features.num_rows, column.type))
    table = spec.table("features")
    version = lake.replace(table, dated, slice={"score_date": day}, partition_by=spec.partition)
    columns = list(features.column_names)
    fingerprint = digest(features, columns).hex
    pinned = InputVersion(table=table, score_date=day, version=version, fingerprint=fingerprint, rows=features.num_rows)
    record = pa.Table.from_pylist(
        [period | {"version": version, "fingerprint": fingerprint, "rows": features.num_rows}],
        schema=pa.schema(
            [
                *period_schema(spec),
                ("version", pa.int64()),
                ("fingerprint", pa.string()),
                ("rows", pa.int64()),
            ]
        ),
    )
    lake.replace(spec.table("inputs"), record, slice={"score_date": day})
    return pinned


def make_request(
    lake: Lake, spec: ModelSpec, pinned: InputVersion, package: Package, *, version: int = 1, **changes: Any
) -> ScoreRequest:
    """A request for the champion `version` with this package."""
    ref = ModelRef(name=spec.name, version=version, digest=package.digest, trained_through=package.meta.trained_through)
    values: dict[str, Any] = {
        "spec": spec,
        "lake": lake,
        "input": pinned,
        "models": (ref,),
        "packages": {package.digest: package},
        "run_id": "test-run",
        "code_version": "test",
    }
    return ScoreRequest(**(values | changes))


ROLES: dict[str, Any] = {
    "canary": {"model": 2, "share": 0.3, "limits": {"max_mean_difference": 1.0}},
    "fallback": {"model": "previous", "covers": ["prediction"], "max_share": 1.0},
}
"""The scoring section of `make_cast`."""


def make_cast(folder: Path, spec: ModelSpec) -> dict[str, Any]:
    """Models in every role for `make_request`: the champion fails on rows whose `c0` was not seen in training."""
    champion = make_package(folder / "champion", seed=7, fault="prediction")
    others = [make_package(folder / str(seed), seed=seed) for seed in range(1, 4)]
    roles = (Role.CHAMPION, Role.CANARY, Role.FALLBACK, Role.SHADOW)
    packages = (champion, *others)
    return {
        "models": tuple(model_ref(spec, *one) for one in zip(roles, packages, (9, 2, 1, 3), strict=True)),
        "packages": {package.digest: package for package in packages},
    }


def model_ref(spec: ModelSpec, role: Role, package: Package | None, version: int) -> ModelRef:
    """A version in a role; without a package, the declared constant."""
    digest = package.digest if package else digest_of(version)
    through = package.meta.trained_through if package else None
    return ModelRef(name=spec.name, version=version, digest=digest, role=role, trained_through=through)


def read_scores(lake: Lake, spec: ModelSpec, day: date = DAY, *, what: str = "scores") -> pa.Table:
    """The day's rows as a reader sees them, sorted by key."""
    rows = lake.read(spec.table(what), where={"score_date": day})
    return rows.select(sorted(rows.column_names)).sort_by("order_id").combine_chunks()


def content_of(table: DeltaTable, day: date, options: Mapping[str, str] = MappingProxyType({})) -> str:
    """Rows and digest of a day as a plain Delta reader finds it."""
    partition = f"score_date={day.isoformat()}/"
    paths = [path for path in table.file_uris() if partition in path]
    if not paths:
        return "nothing"
    # Delta's own writer repeats the partition column inside its files.
    columns = sorted(field.name for field in table.schema().fields if field.name != "score_date")
    rows = pa.concat_tables([_read(path, columns, options) for path in paths])
    return f"{rows.num_rows} rows {digest(rows, columns).hex}"


def _read(path: str, columns: list[str], options: Mapping[str, str]) -> pa.Table:
    filesystem, inner = filesystem_of(path, options)
    with pq.ParquetFile(inner, filesystem=filesystem) as file:
        return file.read(columns)


def _batch(table: pa.Table) -> pa.RecordBatch:
    return table.combine_chunks().to_batches()[0]


def read_profile(lake: Lake, spec: ModelSpec, manifest: Manifest) -> ProfileRow | None:
    """The profile row of the model that answers for a tally, or None where it was not written (or is another's)."""
    return read_profiles(lake, spec, manifest).get(manifest.profile_digest)
