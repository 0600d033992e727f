"""Every engine gives every row to the same model, with the same bits, however the input is laid out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic import ROLES, make_cast, make_features, make_request, make_spec, read_scores

from tallywright.data.delta.lake import Lake
from tallywright.records import Role
from tallywright.scoring.commit.profile_table import read_profiles
from tallywright.scoring.day import score_day
from tallywright.scoring.engines.base import Engines
from tallywright.scoring.worker.fragments import plan_splits

from .conftest import Way, lay_out

FEATURES = make_features(2000)
LOCAL = Way("local", "direct")


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    return tmp_path_factory.mktemp("cast")


@dataclass
class Stage:
    """Scores days with a model in every role, each in a lake of its own."""

    root: Path
    packages: Path
    monkeypatch: pytest.MonkeyPatch
    engines_of: Callable[[Way], Engines]
    pieces: list[int]
    lakes: int = 0

    def score(self, way, pieces, *, row_group_rows=1 << 20, target_rows=1 << 20, scoring=None):
        """The rows of both tables, the manifest, and the profiles by role."""
        self.lakes += 1
        self.monkeypatch.setattr(
            "tallywright.scoring.prepare.plan_splits", partial(plan_splits, target_rows=target_rows)
        )
        lake = Lake(str(self.root / f"lake-{self.lakes}"))
        spec = make_spec(scoring=ROLES | (scoring or {}) | {"io": way.io})
        cast = make_cast(self.packages, spec)
        champion = cast["packages"][cast["models"][0].digest]
        pinned = lay_out(lake, pieces, row_group_rows)
        ran = {"engine": way.engine, "engines": self.engines_of(way)}
        manifest = score_day(make_request(lake, spec, pinned, champion, **ran, **cast)).manifest
        tables = [read_scores(lake, spec, what=what) for what in ("scores", "shadow")]
        profiles = {(row.role, row.model_version): row.profile for row in read_profiles(lake, spec, manifest).values()}
        return tables, manifest, profiles


@pytest.fixture
def stage(tmp_path, packages, monkeypatch, engines_of, pieces):
    return Stage(tmp_path, packages, monkeypatch, engines_of, pieces)


@pytest.fixture
def expected(stage):
    """In one thread, from one file."""
    return stage.score(LOCAL, [FEATURES], scoring={"workers": 1})


def check(found, wanted) -> None:
    for ours, theirs in zip(found[0], wanted[0], strict=True):
        assert ours.equals(theirs)
        for name in ("probability", "confidence"):
            bits = [np.asarray(rows[name].combine_chunks()).view(np.uint32) for rows in (ours, theirs)]
            assert np.array_equal(*bits)
    assert found[1].roles == wanted[1].roles
    assert found[1].key_digest == wanted[1].key_digest
    assert found[2] == wanted[2]


def cut(cuts, seed):
    """The day's rows in another order, in several files."""
    shuffled = FEATURES.take(np.random.default_rng(seed).permutation(2000))
    return [shuffled.slice(start, stop - start) for start, stop in pairwise(sorted({0, *cuts, 2000}))]


def test_every_role_scores_some_rows(expected) -> None:
    (scores, shadow), manifest, profiles = expected
    assert scores.num_rows == shadow.num_rows == 2000
    assert set(manifest.rows_by_role) == {"champion", "canary", "fallback"}
    assert {role for role, _ in profiles} == set(Role)


def test_every_way_gives_every_row_to_the_same_model(stage, way, expected) -> None:
    sizes = {"row_group_rows": 300, "target_rows": 700, "scoring": {"batch_rows": 256, "workers": 2}}
    check(stage.score(way, cut([10, 900], 5), **sizes), expected)
    assert stage.pieces[-1] > 1


def test_a_canary_beyond_its_limits_is_taken_back(stage, way) -> None:
    strict = {"canary": ROLES["canary"] | {"limits": {"max_mean_difference": 0.0}}}
    (scores, shadow), manifest, _ = stage.score(way, [FEATURES], scoring=strict)
    assert set(scores["role"].to_pylist()) == {"champion", "fallback"}
    assert scores.num_rows == shadow.num_rows == 2000
    assert any(one.role is Role.CANARY and one.note for one in manifest.roles)


@st.composite
def layouts(draw):
    """How the day's rows lie in files, and how the work is cut."""
    sizes = {"row_group_rows": draw(st.integers(100, 2000)), "target_rows": draw(st.integers(200, 3000))}
    scoring = {"batch_rows": draw(st.integers(256, 3000)), "workers": draw(st.integers(1, 3))}
    return draw(st.lists(st.integers(0, 2000), max_size=3)), draw(st.integers(0, 99)), sizes | {"scoring": scoring}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=6, deadline=None)
@given(layout=layouts())
def test_any_layout_gives_every_row_to_the_same_model(stage, expected, layout) -> None:
    cuts, seed, sizes = layout
    check(stage.score(LOCAL, cut(cuts, seed), **sizes), expected)
