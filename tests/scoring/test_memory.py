"""A machine that cannot hold a batch says how many rows it was, and leaves nothing behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import make_features

from tallywright.errors import EngineError
from tallywright.scoring.engines.local import engine
from tallywright.scoring.prepare import job_for, pinned_files
from tallywright.scoring.roles.eligibility import assemble
from tallywright.scoring.worker import kernel
from tallywright.spec.environment import EngineSettings


def test_a_batch_that_no_memory_holds_is_an_error_that_names_its_rows(shop) -> None:
    pinned = shop.put(make_features(200))
    splits, _ = pinned_files(shop.lake, pinned)
    job = job_for(shop.spec, shop.lake, pinned, assemble(shop.request(pinned).candidates))
    with pytest.raises(EngineError, match=r"no memory for a batch of 1,000,000,000,000,000 rows"):
        engine(EngineSettings()).score(replace(job, batch_rows=10**15), splits, lambda _: None)
    assert list(Path(job.table).rglob("*.parquet")) == []


def test_so_is_memory_that_ends_in_the_middle(shop, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = shop.put(make_features(200))
    splits, _ = pinned_files(shop.lake, pinned)
    job = job_for(shop.spec, shop.lake, pinned, assemble(shop.request(pinned).candidates))

    def no_more(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(kernel, "failpoint", no_more)
    with pytest.raises(EngineError, match=r"no memory for a batch of 65,536 rows"):
        engine(EngineSettings()).score(job, splits, lambda _: None)
    assert list(Path(job.table).rglob("*.parquet")) == []
