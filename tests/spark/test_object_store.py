"""The lake on an object store, scored by Spark: `io: direct` with the bits of a disk; `io: engine` is refused."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from object_store import SECRET, Bucket
from synthetic import make_features, make_package, make_request, make_spec, put_day, read_scores

from tallywright.data.delta.lake import Lake
from tallywright.errors import UsageError
from tallywright.scoring.commit.manifests import logged_tallies
from tallywright.scoring.day import score_day
from tallywright.spec.environment import EngineSettings, SparkSettings

pytestmark = [pytest.mark.spark, pytest.mark.filterwarnings("ignore")]


@dataclass
class Stored:
    """A lake on a store."""

    bucket: Bucket
    package: object
    settings: EngineSettings = field(default_factory=EngineSettings)

    @property
    def lake(self) -> Lake:
        return Lake(f"{self.bucket.address}/lake", self.bucket.options)

    def score(self, pinned, io: str, engine: str = "spark"):
        spec = make_spec(scoring={"io": io})
        request = make_request(self.lake, spec, pinned, self.package, engine=engine, engine_settings=self.settings)
        return score_day(request)


@pytest.fixture
def stored(bucket, package, spark) -> Stored:
    return Stored(bucket, package)


@pytest.mark.long
def test_spark_gives_the_bits_of_the_local_engine_on_a_disk(stored, tmp_path, spark) -> None:
    disk = Lake(str(tmp_path / "lake"))
    for generation, rows in ((1, 3000), (2, 2900)):
        features = make_features(rows, seed=generation)
        ours = stored.score(put_day(stored.lake, make_spec(), features), "direct").manifest
        theirs = score_day(
            make_request(disk, make_spec(), put_day(disk, make_spec(), features), stored.package)
        ).manifest
        assert (ours.engine, ours.generation) == ("spark", generation)
        assert (ours.key_digest, ours.profile_digest) == (theirs.key_digest, theirs.profile_digest)
        assert read_scores(stored.lake, make_spec()).equals(read_scores(disk, make_spec()))
    assert stored.score(ours.input, "direct").action == "unchanged"
    assert len(list(logged_tallies(stored.lake, stored.lake.open("shop__scores")))) == 2
    told = " ".join(f"{name}={value}" for name, value in spark.sparkContext.getConf().getAll())
    assert SECRET not in told


@pytest.mark.parametrize(("io", "preferred"), [("engine", "direct"), ("auto", "engine")])
def test_a_writer_that_could_overwrite_others_commits_is_refused(stored, io, preferred) -> None:
    stored.settings = EngineSettings(spark=SparkSettings(io=preferred))
    pinned = put_day(stored.lake, make_spec(), make_features(50))
    with pytest.raises(UsageError, match="no conditional put") as found:
        stored.score(pinned, io)
    assert "scoring.io: direct" in found.value.remedy
    assert "engine.spark.io: direct" in found.value.remedy
    assert not [name for name in stored.bucket.objects() if "shop__scores" in name and name.endswith(".parquet")]
    assert list(logged_tallies(stored.lake, stored.lake.open("shop__scores"))) == []
    assert stored.score(pinned, "direct").action == "committed"


def test_what_fails_on_an_executor_leaves_no_part(stored, tmp_path) -> None:
    stored.package = make_package(tmp_path / "altered", seed=8)
    (tmp_path / "altered" / "preprocess.json").write_text("{}")
    pinned = put_day(stored.lake, make_spec(), make_features(50))
    with pytest.raises(Exception, match="altered"):
        stored.score(pinned, "direct")
    assert not [name for name in stored.bucket.objects() if "shop__scores" in name and name.endswith(".parquet")]
