"""The flights' network, LightGBM and a tuned LightGBM side by side, on holdouts at five times of the year.

    python benchmarks/tuning.py [--trials 25] [--dates 2013-05-20,2013-07-10,2013-08-30,2013-10-20,2013-12-10] [--json]

Each date is a training of its own with a list of three estimators: 110 days to learn from, 10 to validate on, and the
14 before the date as holdout, on which all three are judged. The search sees nothing of the holdout. LightGBM has the
parameters of its library, the network those of `models/flight_delays/model.yaml`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
DATES: Final = "2013-05-20,2013-07-10,2013-08-30,2013-10-20,2013-12-10"
FIRST: Final = date(2013, 1, 1)
SPACE: Final = {
    "learning_rate": {"low": 0.01, "high": 0.2, "log": True},
    "num_leaves": {"low": 4, "high": 63, "log": True},
    "min_data_in_leaf": {"low": 20, "high": 2000, "log": True},
    "feature_fraction": {"low": 0.3, "high": 1.0},
    "bagging_fraction": {"low": 0.4, "high": 1.0},
    "lambda_l2": {"low": 0.001, "high": 100.0, "log": True},
}
ESTIMATORS: Final = ("network", "lightgbm", "tuned")


def settings(trials: int) -> dict[str, Any]:
    """What lies over the training section of the flights: three estimators, one of them tuned."""
    from tallywright.spec import load_project

    network = load_project("flight_delays", root=ROOT).spec.training.as_json()["estimator"]
    trees = {"kind": "lightgbm"}
    return {
        "estimator": [
            network | {"name": "network"},
            trees | {"name": "lightgbm"},
            trees | {"name": "tuned", "params": {"bagging_freq": 1}},
        ],
        "tuning": {"estimator": "tuned", "space": SPACE, "trials": trials},
        "baselines": False,
    }


def compared(home: Path, on: date, trials: int) -> dict[str, Any]:
    """The figures of each estimator on the holdout before a date, and what was chosen."""
    from tallywright.data.delta.lake import Lake
    from tallywright.data.snapshot import take_snapshot
    from tallywright.packaging.package import load_package
    from tallywright.spec import load_project
    from tallywright.training.fit import train

    sets = [f"training.{key}={json.dumps(value)}" for key, value in settings(trials).items()]
    project = load_project("flight_delays", root=ROOT, overrides=[*places(home), *sets])
    lake = Lake.of(project.environment)
    snapshot, begun = take_snapshot(project, lake, on), time.perf_counter()
    trained = train(
        project, lake, snapshot, run_id=f"tuning-{on}", work=home / "work" / str(on), code_version="a benchmark"
    )
    candidate = load_package(Path(trained.folder)).meta.training_config["estimator"]
    figures = {candidate if name == "model" else name: values for name, values in trained.metrics.items()}
    return {
        "as of": str(on),
        "flights": snapshot.rows["holdout"],
        "candidate": candidate,
        "seconds": round(time.perf_counter() - begun),
        **{name: {metric: figures[name][metric] for metric in ("roc_auc", "log_loss")} for name in ESTIMATORS},
        "chosen": trained.tuned,
    }


def places(home: Path) -> list[str]:
    """Where lake and MLflow of this benchmark are."""
    return [
        f"environment.storage.lake={home / 'lake'}",
        f"environment.storage.work={home / 'work'}",
        f"environment.tracking.uri=sqlite:///{home}/mlflow.db",
        f"environment.tracking.artifacts={home / 'artifacts'}",
    ]


def ingested(home: Path, last: date) -> None:
    """Ingests the flights up to a date."""
    from tallywright.data.delta.lake import Lake
    from tallywright.data.etl.ingest import ingest
    from tallywright.spec import load_project

    project = load_project("flight_delays", root=ROOT, overrides=places(home))
    ingest(project, Lake.of(project.environment), FIRST, last)


def shown(rows: list[dict[str, Any]]) -> str:
    """A table in Markdown: ROC AUC and log loss of each estimator, by date and in the mean."""
    lines = ["| as of | flights | " + " | ".join(ESTIMATORS) + " |", "|---" * (2 + len(ESTIMATORS)) + "|"]
    for row in rows:
        cells = [f"{row[name]['roc_auc']:.3f} / {row[name]['log_loss']:.3f}" for name in ESTIMATORS]
        lines.append(f"| {row['as of']} | {row['flights']:,} | {' | '.join(cells)} |")
    means = [
        " / ".join(f"{sum(row[name][metric] for row in rows) / len(rows):.3f}" for metric in ("roc_auc", "log_loss"))
        for name in ESTIMATORS
    ]
    lines.append(f"| mean | | {' | '.join(means)} |")
    for row in rows:
        chosen = row["chosen"]
        told = ", ".join(f"{name} {value:.4g}" for name, value in chosen["parameters"].items())
        lines.append(
            f"{row['as of']}: {row['candidate']} is the candidate; tuned by {chosen['complete']} trials and "
            f"{chosen['pruned']} pruned ones to {told}; {row['seconds']} s in all"
        )
    return "\n".join(lines)


def main() -> None:
    """Ingests, trains at each date, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=25)
    parser.add_argument("--dates", default=DATES)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    dates = [date.fromisoformat(text) for text in given.dates.split(",")]
    with tempfile.TemporaryDirectory(prefix="tallywright-bench-") as folder:
        print("ingesting the flights", file=sys.stderr, flush=True)
        ingested(Path(folder), max(dates) - timedelta(days=1))
        rows = []
        for on in dates:
            print(f"training as of {on}", file=sys.stderr, flush=True)
            rows.append(compared(Path(folder), on, given.trials))
    print(json.dumps(rows) if given.json else shown(rows))


if __name__ == "__main__":
    main()
