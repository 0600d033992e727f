"""What a version has to show: more than the files say where a `--set` says so, never less."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.spec import load_project
from tallywright.spec.demands import Demands, demands_of, weaker
from tallywright.spec.model import Gates

SPEC = """
name: shop
description: Late orders.
owner: {name: Shop, email: shop@example.com}
schedule: {start_date: 2024-01-01}
data: {sources: {raw: {path: raw.csv}}, key: [id], columns: {id: VARCHAR, score_moment: TIMESTAMP, x: DOUBLE}}
training: {target: late, numeric: [x]}
gates:
  {min_holdout_rows: 100, min_gain: 0.01, floors: {roc_auc: {min: 0.6}}, max_latency_ms: {rows_1: {p99: 10}}}
registry: {approval: person, approvers: [ann]}
"""
WEAKER = [
    "gates.floors.roc_auc.min=0.1",
    "gates.min_gain=0",
    "gates.min_holdout_rows=1",
    "gates.max_calibration_error=1",
    "gates.max_latency_ms_per_1000=1e9",
    "gates.max_latency_ms.rows_1.p99=11",
    "gates.max_latency_ms.rows_1.p99=null",
    "gates.max_memory_mb=1e6",
    "gates.confidence=0.6",
    "gates.mode=refresh",
    "gates.margin=0.5",
    "gates.yearly_level=0.4",
    "gates.primary_metric=log_loss",
]
bounds = st.none() | st.floats(-1, 1).map(lambda value: round(value, 2))
ordered = st.tuples(bounds, bounds).filter(lambda pair: any(pair) and (None in pair or pair[0] <= pair[1]))
floors = ordered.map(lambda pair: dict(zip(("min", "max"), pair, strict=True)))
gates = st.builds(
    Gates,
    min_gain=st.floats(0, 1),
    confidence=st.sampled_from([0.6, 0.9, 0.99]),
    bootstrap=st.integers(100, 300),
    floors=st.dictionaries(st.sampled_from(["roc_auc", "log_loss"]), floors),
    max_calibration_error=st.floats(0, 1),
    min_holdout_rows=st.integers(1, 99),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in (("models/shop/model.yaml", SPEC), ("conf/local.yaml", "{}\n")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def demanded(root: Path, *sets: str) -> Demands:
    return demands_of(load_project("shop", root=root, overrides=sets))


@pytest.mark.parametrize("said", [*WEAKER, "registry.approval=policy", "registry.approvers=[mallory]"])
def test_a_set_that_asks_for_less_is_not_demanded(root, said) -> None:
    assert demanded(root, said) == demanded(root)


def test_a_set_that_asks_for_more_is_demanded(root) -> None:
    faster = ("gates.max_latency_ms.rows_1.p99=9", "gates.max_latency_ms.rows_1000.p50=5", "gates.max_memory_mb=512")
    more = demanded(root, "gates.floors.roc_auc.min=0.9", "gates.min_holdout_rows=1000", *faster)
    assert (more.gates.floors["roc_auc"].min, more.gates.min_holdout_rows) == (0.9, 1000)
    bounds = more.gates.max_latency_ms
    assert (bounds.rows_1.p99, bounds.rows_1000.p50, more.gates.max_memory_mb) == (9, 5, 512)
    assert more.spec == demanded(root).spec
    (root / "models/shop/model.yaml").write_text(SPEC.replace("approval: person, approvers: [ann]", "approval: policy"))
    assert demanded(root, "registry.approval=person").registry.approval == "person"


@pytest.mark.parametrize(("file", "said"), [("false", "true"), ("true", "false")])
def test_a_set_keeps_the_author_from_approving_and_lets_none(root, file, said) -> None:
    (root / "models/shop/model.yaml").write_text(SPEC.replace("[ann]", f"[ann], author_may_approve: {file}"))
    assert not demanded(root, f"registry.author_may_approve={said}").registry.author_may_approve


def test_a_layer_of_the_overlay_is_a_file_too(root) -> None:
    (root / "conf/local.yaml").write_text("models: {shop: {registry: {approvers: [bob]}}}\n")
    assert demanded(root, "registry.approvers=[mallory]").registry.approvers == ("bob",)


def test_a_set_does_not_turn_the_leak_guard_off(root, heard) -> None:
    for said in ("scoring.allow_leak=true", "scoring={allow_leak: true}"):
        assert not load_project("shop", root=root, overrides=[said]).spec.scoring.allow_leak
        assert "has no effect" in heard.text
    (root / "models/shop/model.yaml").write_text(SPEC + "scoring: {allow_leak: true}\n")
    assert load_project("shop", root=root, overrides=["scoring.workers=1"]).spec.scoring.allow_leak


@given(one=gates, other=gates)
def test_gates_that_are_nowhere_weaker_let_no_more_pass(one, other) -> None:
    """Of two gates, one that is nowhere weaker stops every metric that the other stops."""
    assert not list(weaker(one, one))
    if list(weaker(one, other)):
        return
    for metric, bound in other.floors.items():
        for value in (-2, -1, -0.5, 0, 0.5, 1, 2, bound.min, bound.max):
            if value is not None and not _passes(bound, value):
                assert not _passes(one.floors[metric], value)
    assert one.min_gain >= other.min_gain
    assert one.max_calibration_error <= other.max_calibration_error


def _passes(bound, value) -> bool:
    return (bound.min is None or value >= bound.min) and (bound.max is None or value <= bound.max)
