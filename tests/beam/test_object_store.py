"""The lake on an object store, scored by Beam: the bits of a disk, and nothing left beside the parts."""

from __future__ import annotations

import pytest
from object_store import SECRET
from synthetic import make_features, make_package, make_request, make_spec, put_day, read_scores

from tallywright.data.delta.lake import Lake
from tallywright.errors import PackageError
from tallywright.scoring.commit.manifests import logged_tallies
from tallywright.scoring.day import score_day

pytestmark = [pytest.mark.beam, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def stored(bucket) -> Lake:
    return Lake(f"{bucket.address}/lake", bucket.options)


def test_beam_gives_the_bits_of_the_local_engine_on_a_disk(stored, bucket, package, engines, tmp_path, caplog) -> None:
    disk, spec = Lake(str(tmp_path / "lake")), make_spec()
    for generation, rows in ((1, 3000), (2, 2900)):
        features = make_features(rows, seed=generation)
        pinned = put_day(stored, spec, features)
        request = make_request(stored, spec, pinned, package, engine="beam", engines=engines)
        ours = score_day(request).manifest
        theirs = score_day(make_request(disk, spec, put_day(disk, spec, features), package)).manifest
        assert (ours.engine, ours.generation) == ("beam", generation)
        assert (ours.key_digest, ours.profile_digest) == (theirs.key_digest, theirs.profile_digest)
        assert read_scores(stored, spec).equals(read_scores(disk, spec))
    assert score_day(request).action == "unchanged"
    assert len(list(logged_tallies(stored, stored.open("shop__scores")))) == 2
    assert beside_the_log(bucket) == 2  # a part for each tally
    assert SECRET not in caplog.text


def test_what_fails_in_a_worker_leaves_nothing(stored, bucket, engines, tmp_path) -> None:
    altered = make_package(tmp_path / "altered", seed=8)
    (tmp_path / "altered" / "preprocess.json").write_text("{}")
    pinned = put_day(stored, make_spec(), make_features(50))
    with pytest.raises(PackageError, match="altered"):
        score_day(make_request(stored, make_spec(), pinned, altered, engine="beam", engines=engines))
    assert beside_the_log(bucket) == 0


def beside_the_log(bucket) -> int:
    """How many objects there are below the scores table that are not its log."""
    return len([name for name in bucket.objects("lake/shop__scores") if "/_delta_log/" not in name])
