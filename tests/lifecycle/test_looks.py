"""A scored day opens each table once and hashes the model's package once, whatever its steps ask for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from day_gate import report_day
from decided import decided
from deltalake import DeltaTable
from synthetic import DAY, commit_day, make_features, make_package, make_project

from tallywright.data.delta.lake import Lake
from tallywright.lifecycle.context import RunContext
from tallywright.lifecycle.run import run_step
from tallywright.packaging import package as packages
from tallywright.packaging.package import PackageCache
from tallywright.records import Promotion
from tallywright.registry.promotion_log import PromotionLog
from tallywright.spec import Project

NOW = datetime(2024, 3, 2, tzinfo=UTC)
STEPS = ("resolve", "score", "profile", "drift", "performance", "decide")


@pytest.fixture
def project(tmp_path) -> Project:
    """A project with a champion, and three days that may be scored."""
    project = make_project(tmp_path)
    lake, spec = Lake.of(project.environment), project.spec
    package = PackageCache(tmp_path.joinpath(project.environment.storage.cache)).put(
        make_package(tmp_path / "package").folder
    )
    line = decided(Promotion(
        model="shop", sequence=0, action="promote", model_version=1, package_digest=package.digest,
        trained_through=date(2024, 1, 31), effective_from=DAY, recorded_at=NOW, approver="policy", reason="first",
    ))  # fmt: skip
    PromotionLog(lake, spec).append(lambda _: line)
    for number in range(3):
        _put(lake, spec, DAY + timedelta(days=number))
    return project


def _put(lake, spec, day: date) -> None:
    commit_day(lake, spec, make_features(300, seed=day.toordinal()), day=day)
    report_day(lake, spec, day, at=NOW)


@contextmanager
def counted(monkeypatch) -> Iterator[Counter[str]]:
    """Handles opened, questions whether there is a table, packages hashed."""
    counts: Counter[str] = Counter()

    def count(owner: object, name: str, what: str, wrap=lambda made: made) -> None:
        original = getattr(owner, name)

        def counting(*args, **kwargs):
            counts[what] += 1
            return original(*args, **kwargs)

        patch.setattr(owner, name, wrap(counting))

    with monkeypatch.context() as patch:
        count(DeltaTable, "__init__", "opened")
        count(DeltaTable, "is_deltatable", "asked", staticmethod)
        count(packages, "verified_files", "hashed")
        yield counts


def run(context: RunContext) -> None:
    """From who scores the day to what follows from it, every step by itself."""
    for name in STEPS:
        run_step(context, name)


def test_a_day_opens_each_table_once(project, monkeypatch) -> None:
    run(RunContext(project, DAY, "one"))
    run(RunContext(project, DAY + timedelta(days=1), "two"))
    with counted(monkeypatch) as counts:
        run(RunContext(project, DAY + timedelta(days=2), "three"))
    assert counts["opened"] <= 12
    assert counts["asked"] <= 12
    assert counts["hashed"] == 1


def test_a_range_opens_nothing_twice(project, monkeypatch) -> None:
    first = RunContext(project, DAY, "range")
    run(first)
    run(replace(first, day=DAY + timedelta(days=1), given=first.shared))
    with counted(monkeypatch) as counts:
        run(replace(first, day=DAY + timedelta(days=2), given=first.shared))
    assert counts == Counter()


def test_a_package_that_went_away_is_taken_from_the_registry_again(project, monkeypatch) -> None:
    context = RunContext(project, DAY, "one")
    run(context)
    kept = context.shared.packages
    ref = PromotionLog(context.lake, context.spec).current()
    assert ref is not None
    cache = PackageCache(project.root.joinpath(project.environment.storage.cache))
    folder = cache.root / ref.package_digest
    folder.rename(cache.root / "elsewhere")
    asked = []
    monkeypatch.setattr("tallywright.lifecycle.context.package_of", lambda *args: asked.append(args) or "fetched")
    from tallywright.registry.resolve import as_ref

    assert kept.of(project, as_ref(ref, context.spec)) == "fetched"
    assert len(asked) == 1
