"""How often the bounds of a gain miss on consecutive days of a project: windows beside the period around them.

    tally ingest MODEL --from FIRST --to LAST     # features and labels, where they are not in the lake yet
    python benchmarks/coverage.py MODEL VERSION OTHER --from FIRST --to LAST [--period 56] [--root FOLDER] [--json]

Two versions score the labelled rows of these days. The gain of OTHER over VERSION in a whole period is what its
windows, a week apart, are to find: a miss is a window whose lower (upper) bound at 95 % lies above (below) it. Windows
overlap, and a window is a part of its period: it misses a little less often than about days to come.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from tallywright.data.delta.lake import Lake
from tallywright.data.delta.rows import quoted
from tallywright.data.embedded_sql import connect
from tallywright.gates.quality.scored_rows import ScoredRows, Scores, predicted_scores
from tallywright.labels import encoded
from tallywright.lifecycle.context import package_of
from tallywright.packaging.predictor import Predictor
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.versions_table import known_versions
from tallywright.spec import load_project
from tallywright.tasks import TASKS

if TYPE_CHECKING:
    from tallywright.spec import Project

WINDOWS: Final = (6, 10, 14, 28)
STEP: Final = 7
"""Days from one window, and one period, to the next."""
LEVEL: Final = 0.05


def labelled(project: Project, lake: Lake, first: str, last: str) -> pa.Table:
    """The rows of the days with their known labels, ordered by date and key."""
    spec = project.spec
    key = [*spec.partition, *spec.data.key]
    target = quoted(spec.training.target)
    connection = connect()
    for name in ("features", "labels"):
        connection.register(name, lake.open(spec.table(name)).to_pyarrow_dataset())
    on = ", ".join(map(quoted, key))
    order = ", ".join(f"f.{quoted(name)}" for name in key)
    joined = connection.sql(
        f"SELECT f.*, l.{target} FROM features f JOIN labels l USING ({on}) WHERE l.label_status = 'known' "  # noqa: S608
        f"AND f.score_date BETWEEN CAST(? AS DATE) AND CAST(? AS DATE) ORDER BY {order}",
        params=[first, last],
    )
    return joined.to_arrow_table()


def scored(project: Project, lake: Lake, rows: pa.Table, versions: tuple[int, int]) -> ScoredRows:
    """The rows with the scores of both versions, the second in the candidate's place."""
    spec = project.spec
    known = known_versions(lake, spec, PromotionLog(lake, spec).entries())
    packages = [package_of(project, known[number].as_ref(spec)) for number in versions]
    models = []
    for package in packages:
        predictor = Predictor(package, threshold=spec.scoring.threshold)
        models.append(Scores(predicted_scores(predictor, rows).astype(np.float64), predictor.threshold))
    meaning = packages[0].meaning
    target = encoded(rows.column(spec.training.target), TASKS[spec.training.task], meaning.classes, meaning.positive)
    dates = np.asarray(rows.column("score_date").cast(pa.int32()))
    return ScoredRows(
        spec=spec,
        target=target,
        dates=dates,
        champion=models[0],
        candidate=models[1],
        unseen=np.ones(len(dates), dtype=np.bool_),
        slices=rows.select([]),
    )


def misses(sample: ScoredRows, metric: str, period: int, window: int) -> dict[str, Any]:
    """How often a window's bounds miss the gain of the period around it."""
    days = sample.dates - sample.dates.min()
    low = high = windows = 0
    for start in range(0, int(days.max()) + 2 - period, STEP):
        whole = sample.gain(metric, (days >= start) & (days < start + period))
        for first in range(start, start + period - window + 1, STEP):
            part = sample.gain(metric, (days >= first) & (days < first + window))
            if whole is None or part is None:
                continue
            windows += 1
            low += part.estimate.lower(LEVEL) > whole.estimate.value
            high += part.estimate.upper(LEVEL) < whole.estimate.value
    return {"days": window, "windows": windows, "lower": low / max(windows, 1), "upper": high / max(windows, 1)}


def main() -> None:
    """Prints the shares of misses for windows of several lengths."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("model")
    arguments.add_argument("versions", type=int, nargs=2)
    arguments.add_argument("--from", dest="first", required=True)
    arguments.add_argument("--to", dest="last", required=True)
    arguments.add_argument("--period", type=int, default=56)
    arguments.add_argument("--root", type=Path)
    arguments.add_argument("--json", action="store_true")
    given = arguments.parse_args()
    project = load_project(given.model, root=given.root)
    lake = Lake.of(project.environment)
    rows = labelled(project, lake, given.first, given.last)
    sample = scored(project, lake, rows, tuple(given.versions))
    metric = project.spec.gates.primary_metric
    found = [misses(sample, metric, given.period, window) for window in WINDOWS if window < given.period]
    if given.json:
        print(json.dumps({"metric": metric, "rows": rows.num_rows, "windows": found}))
        return
    print(f"{metric} of versions {given.versions[1]} and {given.versions[0]}, {rows.num_rows:,} rows; misses in %")
    print(f"{'days':>5} {'windows':>8} {'lower':>6} {'upper':>6}")
    for one in found:
        print(f"{one['days']:>5} {one['windows']:>8} {100 * one['lower']:>6.1f} {100 * one['upper']:>6.1f}")


if __name__ == "__main__":
    main()
