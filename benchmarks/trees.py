"""What scoring a model of boosted trees costs: the Predictor beside LightGBM's own batch prediction, in the same run.

    python benchmarks/trees.py [--rows 5000000] [--trees 500] [--leaves 31] [--threads 1] [--repeat 3] [--json]

Both get the same rows in memory, as matrices, on the same number of threads: the Predictor as engines use it, a clone a
thread with one thread of ONNX Runtime each; LightGBM with its own threads. They take turns, and the least time of each
counts. The largest difference of the scores is printed too.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallywright.packaging.predictor import Predictor
    from tallywright.packaging.preprocess import ModelInput

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

NUMERIC: Final = 12
CATEGORICAL: Final = 3
TRAINED_ROWS: Final = 50_000
BATCH: Final = 65_536


def inputs(rows: int, seed: int) -> ModelInput:
    """Rows as the preprocessing leaves them: nulls in 5 % of the numbers, codes of some ten categories."""
    from tallywright.packaging.preprocess import ModelInput

    random = np.random.default_rng(seed)
    numeric = random.normal(size=(NUMERIC, rows)).astype(np.float32)
    numeric[random.random(numeric.shape) < 0.05] = np.nan
    return ModelInput(numeric.T, random.integers(0, 8, size=(CATEGORICAL, rows)).T.astype(np.int64))


def fitted(trees: int, leaves: int) -> tuple[bytes, Callable[[np.ndarray, int], np.ndarray]]:
    """The graph of a LightGBM model, and LightGBM's own prediction of a matrix on a number of threads."""
    import lightgbm

    from tallywright.spec.sections import Training
    from tallywright.training.estimators.protocol import FitTask
    from tallywright.training.estimators.registry import make
    from tallywright.training.matrices import Rows
    from tallywright.training.objective import learn_objective

    world = importlib.import_module("synthetic")
    numbers, texts = world.columns_of(NUMERIC, CATEGORICAL)
    section = {"kind": "lightgbm", "rounds": trees, "params": {"num_leaves": leaves}}
    spec = Training.model_validate({"numeric": numbers, "categorical": texts, "estimator": section})
    given = inputs(TRAINED_ROWS, 1)
    signal = np.nan_to_num(given.numeric) @ np.linspace(-1, 1, NUMERIC) + given.categorical[:, 0] % 3
    noise = np.random.default_rng(2).normal(size=TRAINED_ROWS)
    target = (signal + np.nan_to_num(given.numeric[:, 0] * given.numeric[:, 1]) + noise > 1).astype(np.int64)
    task = FitTask(
        objective=learn_objective("binary", target, "none"),
        train=Rows(np.ascontiguousarray(given.numeric), np.ascontiguousarray(given.categorical), target),
        validation=None,
        codes=(8,) * CATEGORICAL,
        rounds=trees,
        configuration="",
        checkpoint=Path(),
        doing=lambda _what, _limit: None,
    )
    kept: list[lightgbm.Booster] = []
    plain = lightgbm.train

    def keeping(*given: Any, **others: Any) -> lightgbm.Booster:
        kept.append(plain(*given, **others))
        return kept[-1]

    lightgbm.train = keeping
    project = cast("Any", SimpleNamespace(spec=SimpleNamespace(training=spec), folder=Path()))
    graph = make(project, spec.estimators[0]).fit(task).graph
    return graph, lambda matrix, threads: np.asarray(kept[0].predict(matrix, num_threads=threads))


def predictor_of(graph: bytes, folder: Path) -> Predictor:
    """The Predictor of a package with this graph."""
    from tallywright.packaging.package import PackageContents, write_package
    from tallywright.packaging.predictor import Predictor

    world = importlib.import_module("synthetic")
    plain = world.make_package(folder / "network", numeric=NUMERIC, categorical=CATEGORICAL)
    contents = PackageContents(
        meta=plain.meta,
        preprocess=plain.preprocess,
        onnx=graph,
        weights={},
        definition=plain.definition,
        reference=plain.reference,
        parity=plain.parity(),
    )
    return Predictor(write_package(folder / "trees", contents))


def scored(predictor: Predictor, given: ModelInput, threads: int) -> np.ndarray:
    """The Predictor's scores, batch by batch on some threads."""
    clones = [predictor.clone() for _ in range(threads)]
    starts = range(0, given.rows, BATCH)

    def share(number: int) -> list[tuple[int, np.ndarray]]:
        mine = list(starts)[number::threads]
        return [(at, clones[number].score(given.take(slice(at, at + BATCH)))) for at in mine]

    found = np.empty(given.rows, dtype=np.float32)
    with ThreadPoolExecutor(threads) as pool:
        for pieces in pool.map(share, range(threads)):
            for at, scores in pieces:
                found[at : at + len(scores)] = scores
    return found


def main() -> None:
    """Prints the least time of each, their ratio and the largest difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--trees", type=int, default=500)
    parser.add_argument("--leaves", type=int, default=31)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    graph, own = fitted(arguments.trees, arguments.leaves)
    given = inputs(arguments.rows, 3)
    matrix = np.ascontiguousarray(np.hstack([given.numeric, given.categorical.astype(np.float32)]))
    seconds: dict[str, list[float]] = {"Predictor": [], "LightGBM": []}
    with tempfile.TemporaryDirectory() as folder:
        predictor = predictor_of(graph, Path(folder))
        for _ in range(arguments.repeat):
            begun = time.perf_counter()
            ours = scored(predictor, given, arguments.threads)
            between = time.perf_counter()
            theirs = own(matrix, arguments.threads)
            seconds["Predictor"].append(between - begun)
            seconds["LightGBM"].append(time.perf_counter() - between)
    least = {name: min(taken) for name, taken in seconds.items()}
    result = {
        "rows": arguments.rows,
        "trees": arguments.trees,
        "threads": arguments.threads,
        **{f"{name} (s)": round(taken, 2) for name, taken in least.items()},
        "ratio": round(least["Predictor"] / least["LightGBM"], 3),
        "largest difference": float(np.abs(ours - theirs).max()),
    }
    print(json.dumps(result) if arguments.json else "\n".join(f"{name}: {value}" for name, value in result.items()))


if __name__ == "__main__":
    main()
