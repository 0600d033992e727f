"""Labels that no model can learn are refused by name, with counts and dates, before the first epoch."""

from __future__ import annotations

from datetime import date, timedelta

import pyarrow as pa
import pytest
from synthetic import make_spec

from tallywright.errors import InputError
from tallywright.training.targets import require_targets

FIRST = date(2025, 3, 1)


def windows(*days: list[object]) -> list[pa.Table]:
    """A day a window."""
    return [
        pa.table({"score_date": pa.array([FIRST + timedelta(days=place)] * len(labels), pa.date32()), "label": labels})
        for place, labels in enumerate(days)
    ]


def require(windows: list[pa.Table], **training: object) -> None:
    require_targets(make_spec(training={"target": "label", **training}), windows)


def test_another_name_of_the_negative_class_is_named_with_counts_and_dates() -> None:
    """In the holdout alone: the training rows have two classes, and an epoch would be trained for nothing."""
    with pytest.raises(InputError) as refused:
        require(windows(["yes", "no", "no"], ["yes", "no"], ["yes", "NO"]), positive="yes")
    assert refused.value.found == (
        "shop__labels: label has 3 classes in the training windows: "
        "'yes' in 3 rows (2025-03-01, 2025-03-02, 2025-03-03); 'no' in 3 rows (2025-03-01, 2025-03-02); "
        "'NO' in 1 rows (2025-03-03)"
    )
    assert refused.value.expected == "'yes' and one other class, in all windows together"
    assert refused.value.remedy.endswith("tally ingest shop --date 2025-03-03")


@pytest.mark.parametrize(
    ("task", "labels", "found"),
    [
        ("binary", [0, 1, 2], "'2' in 1 rows"),
        ("multiclass", [0, 1, 5000], "'5000' in 1 rows"),
        ("regression", [0.5, 1.0, 1e300], "1 rows, such as 1e+300"),
        ("regression", [0.5, 1.0, float("inf")], "1 rows, such as inf"),
    ],
)
def test_every_task_names_what_it_cannot_learn(task: str, labels: list[object], found: str) -> None:
    with pytest.raises(InputError, match="shop__labels") as refused:
        require(windows(labels[:2], labels[:2], labels[2:]), task=task)
    assert f"{found} (2025-03-03)" in refused.value.found


@pytest.mark.parametrize(
    ("training", "labels"),
    [
        ({"task": "binary"}, [0, 1]),
        ({"task": "binary", "positive": "yes"}, ["no", "yes"]),
        ({"task": "multiclass"}, ["a", "b", "c"]),
        ({"task": "regression"}, [-3e38, 3e38]),
        ({"task": "regression"}, [1, 2]),
    ],
)
def test_labels_of_the_task_pass(training: dict[str, object], labels: list[object]) -> None:
    require(windows(labels, labels, labels[:1]), **training)
