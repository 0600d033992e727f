"""The classes of a multiclass model, so that none of them pays for the gain of the others.

Each class of a least size is judged by its AUC against all others, at its share of the level (Bonferroni), as slices
are. Recall would not do: a model that gives the right probabilities may find fewer rows of a rare class than a worse
one that predicts it too often, while nothing has a higher AUC than the right probabilities. A class that no row has is
said, as nothing is known about it; it refuses where the primary metric or a floor is about it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tallywright.class_metrics import MOST_CLASSES
from tallywright.errors import listed
from tallywright.gates.quality.scored_rows import gain_of
from tallywright.gates.quality.slices import MIN_SLICE_ROWS, judged
from tallywright.mlflow_names import encode
from tallywright.records import Check, Verdict
from tallywright.tasks import MACRO, metric_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tallywright.gates.quality.scored_rows import ScoredRows
    from tallywright.spec import ModelSpec


def class_checks(samples: Sequence[ScoredRows], figures: Mapping[str, float]) -> list[Check]:
    """A check of which classes there are, and one for each that has enough rows; none where a row has one score.

    Args:
        samples: The rows that are judged.
        figures: The candidate's metrics on the first of them, those of single classes too.
    """
    classes = samples[0].classes
    if not classes:
        return []
    rows = {name: sum(int(sample.of_class(name).sum()) for sample in samples) for name in classes}
    large = sorted((name for name in classes if rows[name] >= MIN_SLICE_ROWS), key=lambda name: (-rows[name], name))
    chosen = large[:MOST_CLASSES]
    level = (1 - samples[0].spec.gates.confidence) / max(len(chosen), 1)
    return [_present(samples, rows), *(_check(samples, figures, name, rows[name], level) for name in chosen)]


def _present(samples: Sequence[ScoredRows], rows: dict[str, int]) -> Check:
    """Whether the rows have each class of the candidate, and no other."""
    own = samples[0].own_classes
    absent = [name for name in own if not rows[name]]
    few = [f"{name} ({rows[name]})" for name in own if 0 < rows[name] < MIN_SLICE_ROWS]
    unknown = sum(int(np.sum(sample.target < 0)) for sample in samples)
    unknown += sum(count for name, count in rows.items() if name not in own)
    asked = [metric for metric in _metrics_asked_for(samples[0].spec) if _needs(metric, absent)]
    told = [
        text
        for text in (
            f"no row of class {listed(absent)}: nothing is known about it" if absent else "",
            f"{', '.join(asked)} cannot be judged without it" if asked else "",
            f"{unknown:,} rows have a class that the candidate does not know" if unknown else "",
            f"too few rows to be judged by themselves, {MIN_SLICE_ROWS} would do: {listed(few)}" if few else "",
        )
        if text
    ]
    verdict = Verdict.FAIL if asked else Verdict.WARN if absent or unknown else Verdict.NOTE if few else Verdict.PASS
    return Check(
        name="classes",
        verdict=verdict,
        observed=float(len(own) - len(absent)),
        bound=f"rows of each of the {len(own)} classes, and of no other",
        evidence="; ".join(told),
    )


def _metrics_asked_for(spec: ModelSpec) -> list[str]:
    return list(dict.fromkeys([spec.gates.primary_metric, *spec.gates.floors]))


def _needs(metric: str, absent: Sequence[str]) -> bool:
    of_class = metric_of(metric).of_class
    return bool(absent) and (metric.startswith(MACRO) or of_class in [encode(name) for name in absent])


def _check(
    samples: Sequence[ScoredRows], figures: Mapping[str, float], of_class: str, rows: int, level: float
) -> Check:
    name, metric = f"class_{encode(of_class)}", f"auc_{encode(of_class)}"
    gain = gain_of(samples, metric)
    if gain is None:
        found = figures.get(metric, math.nan)
        known = found if math.isfinite(found) else None
        return Check(
            name=name,
            verdict=Verdict.PASS if known is not None else Verdict.WARN,
            observed=known,
            bound="AUC against all other classes, reported",
            evidence=f"{rows:,} rows",
        )
    verdict, needed = judged(gain, level)
    more = f"; about {needed:,} rows of all classes would show it" if needed else ""
    return Check(
        name=name,
        verdict=verdict,
        observed=gain.candidate,
        bound=f"AUC against all other classes not shown to be worse than the champion's {gain.champion:.4f}",
        evidence=f"{rows:,} rows; {gain.told(level)}{more}",
    )
