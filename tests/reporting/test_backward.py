"""From a version, data, a commit or a raw file to the scores made from it; forward traces say the same."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest
from click.testing import CliRunner
from decided import decided
from hypothesis import given, settings
from hypothesis import strategies as st
from shared import shared
from synthetic import DAY, ROLES, make_cast, make_features, make_package, make_project, make_request

from tallywright.cli.trace_command import trace as trace_command
from tallywright.data.delta.lake import Lake
from tallywright.data.etl.reading import change_of
from tallywright.data.fingerprint import digest
from tallywright.data.inputs.files import files_of_day
from tallywright.data.inputs.versions import input_version, record_input
from tallywright.data.types import feature_schema
from tallywright.errors import GateRefusedError, InputError, NoChampionError, UsageError
from tallywright.packaging.package import PackageCache
from tallywright.records import InputVersion, ModelRef, Promotion, RawFileRows
from tallywright.registry.evidence import evidence_of
from tallywright.registry.promotion_log import PROMOTE, PromotionLog
from tallywright.registry.transitions import RollbackRequest, rollback
from tallywright.registry.versions_table import TrainedBy, record_version
from tallywright.reporting.backward.affected import affected
from tallywright.reporting.backward.links import Link
from tallywright.reporting.backward.origins import Asked, OriginKind
from tallywright.reporting.trace import trace
from tallywright.scoring.commit.manifests import recorded_tallies
from tallywright.scoring.day import score_day

DAYS = [DAY + timedelta(days=number) for number in range(6)]
NOW = datetime(2024, 4, 1, tzinfo=UTC)
FIRST, SECOND = "1a2b3c4d5e6f", "1a2bffff0000"


class History:
    """A model whose days are delivered, promoted, rolled back and scored on request; ingest's SQL is left out."""

    def __init__(self, root, packages) -> None:
        self.project = make_project(root, data={"lookback_days": 2})
        self.lake, self.spec = Lake.of(self.project.environment), self.project.spec
        self.packages = packages
        cache = PackageCache(root / self.project.environment.storage.cache)
        for package in packages.values():
            cache.put(package.folder)

    def deliver(self, day: date, file: str | None, seed: int, commit: str = FIRST, rows: int = 9) -> InputVersion:
        """Writes and records a day as ingest does; without a file as ingest did before it recorded files."""
        features = make_features(rows, seed=seed)
        dated = features.append_column("score_date", pa.array([day] * rows, pa.date32()))
        dated = dated.select(feature_schema(self.spec).names)
        table, content = self.spec.table("features"), digest(dated, dated.column_names)
        change = change_of(table, dated, day, content)
        self.lake.commit(change, self.lake.handle(change))
        base = self.lake.look(table)
        given_files = (RawFileRows(source="raw", file=file, rows=rows, quarantined=0),) if file else None
        files = files_of_day(self.lake, table, day, base)
        found = InputVersion(
            table=table, score_date=day, version=base.version(), fingerprint=content.hex, rows=rows, files=files,
            raw_files=given_files, code_version=commit if file else "",
        )  # fmt: skip
        record_input(self.lake, self.spec, found, base, quarantined=0)
        return found

    def register(self, version: int, *, features: int = 0, window: tuple[date, date] | None = None) -> None:
        package = self.packages[version]
        ref = ModelRef(name="shop", version=version, digest=package.digest, trained_through=date(2024, 1, 31))
        first, last = window or (date(2024, 1, 1), date(2024, 1, 31))
        snapshot = {"features": {"table": "shop__features", "version": features}}
        snapshot |= {f"{split}_{end}": str(day) for split in ("train", "validation", "holdout")
                     for end, day in (("from", first), ("to", last))}  # fmt: skip
        origin = TrainedBy(code_version=f"{SECOND}+changed", snapshot_json=json.dumps(snapshot))
        none = evidence_of(self.spec.name, ref.digest, ())
        record_version(self.lake, self.spec, ref, none, recorded_at=NOW, trained_by=origin)

    def promote(self, version: int, effective: date) -> None:
        line = decided(Promotion(
            model="shop", sequence=0, action=PROMOTE, model_version=version, effective_from=effective,
            package_digest=self.packages[version].digest, trained_through=date(2024, 1, 31), recorded_at=NOW,
            approver="policy", reason="first",
        ))  # fmt: skip
        PromotionLog(self.lake, self.spec).append(lambda _: line)

    def roll_back(self, effective: date) -> None:
        request = RollbackRequest(
            effective_from=effective, reason="bad", approver="me", recorded_at=NOW, allow_later_lines=True
        )
        rollback(self.project, self.lake, request)

    def score(self, day: date, commit: str = FIRST) -> None:
        champion = PromotionLog(self.lake, self.spec).champion_on(day)
        package = self.packages[champion.model_version]
        pinned = input_version(self.lake, self.spec, day)
        score_day(make_request(self.lake, self.spec, pinned, package, version=champion.model_version,
                               code_version=commit))  # fmt: skip

    def asked(self, kind: OriginKind, name: object, *ends: date | None):
        return affected(self.project, Asked(kind, str(name)), *ends)


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backward-packages")
    made = {number: make_package(folder / str(number), seed=number) for number in (1, 2)}
    shared(folder)
    return made


@pytest.fixture(scope="module")
def history(tmp_path_factory, packages) -> History:
    """Five scored days of version 1, the second restated; version 2 from the fourth on, rolled back for the fifth.

    Version 2 was trained on the first two days, before the second was restated. The sixth day was delivered, and was
    scored by nobody; the first was ingested before files were recorded.
    """
    root = tmp_path_factory.mktemp("backward")
    made = History(root, packages)
    made.deliver(DAYS[0], None, 100)
    for number in range(1, 6):
        made.deliver(DAYS[number], f"raw/day-{number}.csv", 100 + number)
    made.register(1)
    made.promote(1, DAYS[0])
    for day in DAYS[:3]:
        made.score(day)
    made.register(2, features=made.lake.look("shop__features").version(), window=(DAYS[0], DAYS[1]))
    made.deliver(DAYS[1], "raw/late.csv", 300, SECOND, rows=11)
    made.promote(2, DAYS[3])
    for day in DAYS[1:5]:  # a backfill: the first day of it is restated, the second unchanged
        made.score(day, SECOND)
    made.roll_back(DAYS[4])
    made.score(DAYS[4], SECOND)
    shared(root)
    return made


def told(found) -> list[tuple]:
    """The ranges by the numbers of their days."""
    return [(one.first.day, one.last.day, one.rows, one.model_version, one.stands, *one.why) for one in found.scores]


def test_a_version(history) -> None:
    found = history.asked(OriginKind.VERSION, 1)
    assert told(found) == [
        (1, 3, 9 + 11 + 9, 1, True, Link.SCORED),
        (5, 5, 9, 1, True, Link.SCORED),
        (2, 2, 9, 1, False, Link.SCORED),
    ]
    assert (found.total["standing_days"], found.total["standing_rows"]) == (4, 38)
    assert (found.total["replaced_days"], found.total["replaced_rows"]) == (1, 9)
    assert found.asked["digest"] == history.packages[1].digest
    assert found.models == []
    replaced = history.asked(OriginKind.VERSION, 2)
    assert told(replaced) == [(4, 4, 9, 2, True, Link.SCORED), (5, 5, 9, 2, False, Link.SCORED)]


def test_a_range_of_days(history) -> None:
    found = history.asked(OriginKind.VERSION, 1, DAYS[2], DAYS[3])
    assert told(found) == [(3, 3, 9, 1, True, Link.SCORED)]


def test_a_raw_file_and_the_lookback_and_the_models_trained_on_it(history) -> None:
    found = history.asked(OriginKind.RAW, "day-1.csv")
    assert told(found) == [
        (3, 3, 9, 1, True, Link.MAY_REACH),
        (4, 4, 9, 2, True, Link.TRAINED, Link.MAY_REACH),
        (2, 2, 9, 1, False, Link.INGESTED),
        (5, 5, 9, 2, False, Link.TRAINED),
    ]  # day 2 as restated is of another file, and two days on the lookback ends
    (model,) = found.models
    assert (model["model_version"], model["why"], model["first"], model["dates"]["train"]) == (
        2, Link.TRAINED, DAYS[1], 1,
    )  # fmt: skip
    assert (found.total["perhaps_rows"], found.total["standing_rows"]) == (9, 9)
    assert found.not_recorded == [str(DAYS[0])]
    assert any("of 1 dates that models were trained on" in note for note in found.notes)


def test_the_file_that_restated_a_day_has_trained_nothing(history) -> None:
    found = history.asked(OriginKind.RAW, "raw/late.csv")
    assert [one for one in told(found) if Link.INGESTED in one] == [(2, 2, 11, 1, True, Link.INGESTED)]
    assert found.models == []


def test_a_file_of_a_day_that_nobody_scored(history) -> None:
    assert history.asked(OriginKind.RAW, "day-5.csv").scores == []


def test_a_data_version_by_number_and_by_fingerprint(history) -> None:
    first = next(one for one in recorded_tallies(history.lake, history.spec, DAYS[1]) if one.manifest.generation == 1)
    pinned = first.manifest.input
    by_number = history.asked(OriginKind.DATA, pinned.version)
    assert by_number.scores == history.asked(OriginKind.DATA, pinned.fingerprint[:12]).scores
    assert told(by_number) == [
        (4, 4, 9, 2, True, Link.TRAINED), (2, 2, 9, 1, False, Link.READ), (5, 5, 9, 2, False, Link.TRAINED),
    ]  # fmt: skip
    (content,) = by_number.asked["contents"]
    assert (content["date"], content["stands"], content["raw_files"]) == (str(DAYS[1]), False, ["raw/day-1.csv"])


def test_the_version_of_the_table_that_a_snapshot_is(history) -> None:
    """The commit of the last delivery before: its own day was scored by nobody."""
    found = history.asked(OriginKind.DATA, 6)
    assert told(found) == [(4, 4, 9, 2, True, Link.PINNED), (5, 5, 9, 2, False, Link.PINNED)]


def test_a_commit_that_scored_ingested_and_trained(history) -> None:
    found = history.asked(OriginKind.COMMIT, SECOND[:8])
    assert found.asked["commit"] == SECOND
    # Version 1 was trained by it, too.
    assert {one.day for one in (row["score_date"] for row in found.days)} == {1, 2, 3, 4, 5}
    by_day = {(row["score_date"].day, row["generation"]): row["why"] for row in found.days}
    assert by_day[3, 1] == [Link.TRAINED_BY]
    assert by_day[2, 1] == [Link.TRAINED_BY]
    assert by_day[2, 2] == [Link.SCORED, Link.INGESTED_BY, Link.TRAINED_BY]
    assert "some of it with changes that were not committed" in found.notes
    other = history.asked(OriginKind.COMMIT, FIRST)
    assert {(row["score_date"].day, row["generation"]) for row in other.days if Link.SCORED in row["why"]} == {
        (1, 1), (2, 1), (3, 1),
    }  # fmt: skip
    assert {one["model_version"] for one in other.models} == {2}  # on the second day, as it was ingested by it


@pytest.mark.parametrize(
    ("kind", "name", "found", "expected"),
    [
        (OriginKind.VERSION, 9, "no version 9", "1, 2"),
        (OriginKind.COMMIT, "1a2b", "may mean 2 commits", FIRST),
        (OriginKind.COMMIT, "1a2b3c4d5e6e", f"did you mean '{FIRST}'", SECOND),
        (OriginKind.COMMIT, "1a2", "too short", "4 characters"),
        (OriginKind.DATA, 99, "its newest version is 7", "the nearest are 7"),
        (OriginKind.DATA, "zz99", "fingerprint 'zz99'", "a number"),
        (OriginKind.RAW, "day-l.csv", "did you mean 'day-", "raw:raw/day-1.csv"),
    ],
)
def test_an_unknown_name_is_told_with_what_is_near(history, kind, name, found, expected) -> None:
    with pytest.raises(InputError, match=found) as caught:
        history.asked(kind, name)
    assert expected in caught.value.expected


def test_a_commit_that_wrote_no_day_is_told(tmp_path, packages) -> None:
    made = History(tmp_path, packages)
    for number in range(3):
        made.deliver(DAYS[number], "raw/a.csv", number)
    handle = made.lake.open("shop__features")
    handle.optimize.compact()
    handle.create_checkpoint()
    handle.alter.set_table_properties({"delta.checkpointInterval": "30"})
    with pytest.raises(InputError, match="that commit wrote no date's content") as caught:
        made.asked(OriginKind.DATA, handle.version())
    assert "the nearest are 3" in caught.value.expected


def test_a_lake_of_before_says_what_is_not_recorded(tmp_path, packages) -> None:
    made = History(tmp_path, packages)
    made.deliver(DAYS[0], None, 1)
    with pytest.raises(InputError, match="it is recorded which raw files") as caught:
        made.asked(OriginKind.RAW, "a.csv")
    assert "tally ingest shop" in caught.value.remedy


def test_files_of_one_name_and_the_end_of_a_path(tmp_path, packages) -> None:
    made = History(tmp_path, packages)
    made.deliver(DAYS[0], "a/x.csv", 1)
    made.deliver(DAYS[1], "b/x.csv", 2)
    with pytest.raises(InputError, match="may mean 2 raw files"):
        made.asked(OriginKind.RAW, "x.csv")
    assert made.asked(OriginKind.RAW, "raw:b/x.csv").asked["dates"] == 1


def test_rows_of_each_role_are_counted_as_such(tmp_path) -> None:
    project = make_project(tmp_path, scoring=ROLES)
    lake, spec = Lake.of(project.environment), project.spec
    made = History.__new__(History)
    made.project, made.lake, made.spec = project, lake, spec
    pinned = made.deliver(DAY, "raw/a.csv", 5, rows=200)
    cast = make_cast(tmp_path / "cast", spec)
    manifest = score_day(make_request(lake, spec, pinned, cast["packages"][cast["models"][0].digest], **cast)).manifest
    counts = {(one.role.value, one.version): one.rows for one in manifest.roles}
    assert {role for role, _ in counts} == {"champion", "canary", "fallback", "shadow"}
    for (role, version), rows in counts.items():
        found = made.asked(OriginKind.VERSION, version)
        assert [(one.role, one.rows) for one in found.scores] == [(role, rows)]
        counted = "shadow" if role == "shadow" else "standing"
        assert (found.total[f"{counted}_days"], found.total[f"{counted}_rows"]) == (1, rows)


DELIVER = st.tuples(st.just("deliver"), st.integers(0, 3), st.sampled_from("abc"))
ACTIONS = st.one_of(
    DELIVER,
    st.tuples(st.just("promote"), st.integers(0, 3), st.sampled_from((1, 2))),
    st.tuples(st.just("roll back"), st.integers(0, 3), st.none()),
    st.tuples(st.just("score"), st.integers(0, 3), st.sampled_from((FIRST, SECOND))),
    st.tuples(st.just("score all"), st.just(0), st.sampled_from((FIRST, SECOND))),
)


@settings(max_examples=max(2, settings.default.max_examples // 20))
@given(actions=st.lists(ACTIONS, min_size=3, max_size=9))
def test_backward_and_forward_agree_on_every_day(actions, tmp_path_factory, packages) -> None:
    made = History(tmp_path_factory.mktemp("agree"), packages)
    for number, day in enumerate(DAYS[:4]):
        made.deliver(day, f"raw/{'abca'[number]}.csv", number, rows=5 + number)
    for version in (1, 2):
        made.register(version)
    made.promote(1, DAYS[0])
    seeds = iter(range(1000, 2000))
    for what, number, value in [*actions, ("score all", 0, SECOND)]:
        _act(made, what, DAYS[number], value, next(seeds))
    _require_agreement(made)


def _act(made: History, what: str, day: date, value, seed: int) -> None:
    if what == "deliver":
        made.deliver(day, f"raw/{value}.csv", seed, SECOND, rows=5 + seed % 4)
    elif what == "promote":
        made.promote(value, day)
    elif what == "roll back":
        with suppress(NoChampionError, GateRefusedError):  # there is nobody to go back to
            made.roll_back(day)
    else:
        for one in DAYS[:4] if what == "score all" else [day]:
            made.score(one, value)


def _require_agreement(made: History) -> None:
    """What forward traces say of one score of each day and version, against what is counted backward."""
    rows, forward = made.lake.read("shop__scores"), {}
    counts = Counter(zip(rows["score_date"].to_pylist(), rows["model_version"].to_pylist(), strict=True))
    for key, day, version in zip(*(rows[name].to_pylist() for name in ("order_id", "score_date", "model_version")),
                                 strict=True):  # fmt: skip
        if (day, version) not in forward:
            forward[day, version] = trace(made.project, key, day)
    manifests = [one.manifest for one in recorded_tallies(made.lake, made.spec)]

    def backward(kind: OriginKind, name: object, link: Link, *, stands: bool = True) -> dict:
        try:
            found = made.asked(kind, name)
        except InputError:
            return {}
        return {
            (row["score_date"], row["model_version"], row["generation"]): row["rows"]
            for row in found.days if row["stands"] is stands and link in row["why"]
        }  # fmt: skip

    def of(kept) -> dict:
        return {
            (day, version, one["tally"]["generation"]): counts[day, version]
            for (day, version), one in forward.items() if kept(one)
        }  # fmt: skip

    for version in (1, 2):
        assert backward(OriginKind.VERSION, version, Link.SCORED) == of(
            lambda one, v=version: one["model"]["version"] == v
        )
        replaced = {
            (one.score_date, version, one.generation): one.rows for one in manifests
            if one.primary.version == version
            and one.generation < max(other.generation for other in manifests if other.score_date == one.score_date)
        }  # fmt: skip
        assert backward(OriginKind.VERSION, version, Link.SCORED, stands=False) == replaced
    for commit in (FIRST, SECOND):
        scored = of(lambda one, c=commit: one["tally"]["code_version"] == c)
        assert backward(OriginKind.COMMIT, commit, Link.SCORED) == scored
        ingested = of(lambda one, c=commit: one["input"]["code_version"] == c)
        assert backward(OriginKind.COMMIT, commit, Link.INGESTED_BY) == ingested
    for file in ("raw/a.csv", "raw/b.csv", "raw/c.csv"):
        given_files = of(lambda one, f=file: f in [given["file"] for given in one["input"]["raw_files"]])
        assert backward(OriginKind.RAW, file, Link.INGESTED) == given_files
    for version in {one["input"]["version"] for one in forward.values()}:
        read = of(lambda one, v=version: one["input"]["version"] == v)
        assert backward(OriginKind.DATA, version, Link.READ) == read


def test_the_command_for_people_and_for_programs(history) -> None:
    def run(*arguments: str):
        return CliRunner().invoke(trace_command, ["shop", "--root", str(history.project.root), *arguments])

    shown = run("--raw-file", "day-1.csv")
    assert shown.exit_code == 0, shown.output
    assert "replaced since" in shown.output
    assert "within data.lookback of it" in shown.output
    document = json.loads(run("--version", "1", "--from", str(DAYS[4]), "--json").stdout)
    assert [(one["first"], one["rows"]) for one in document["scores"]] == [(str(DAYS[4]), 9)]
    for wrong in (["--version", "1", "--commit", FIRST], [], ["o1"], ["o1", str(DAY), "--version", "1"],
                  ["o1", str(DAY), "--from", str(DAY)]):  # fmt: skip
        failed = run(*wrong)
        assert isinstance(failed.exception, UsageError), wrong
        assert "--raw-file" in failed.exception.expected
