"""Every order of two writers of one date, and of three with at most two switches: none goes over what is newer.

Writers are threads that stop at the failpoints. A schedule runs one writer up to a point, another up to a point or to
its end, and then the first to its end: all pairs of writers and all points. What must hold is told by the tables' own
history, whatever the order was: no commit of the date is older than the one before it.
"""

from __future__ import annotations

import itertools
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from shared import shared
from synthetic import DAY
from writers import STATE_OF, Day, make_versions

from tallywright.errors import CommitConflictError, GateRefusedError, TallyError
from tallywright.observability import at_failpoint

Action = Callable[[Day], object]


def newer_raw(day: Day) -> None:
    """A delivery arrives and is ingested: the next state, whoever else delivers."""
    with day.lock:
        state = day.next_state()
        day.put_raw(state)
    day.ingest()
    day.gate()


def dead_then_retried(day: Day) -> None:
    """A run resolves and dies; its retry has the same run id and folder."""
    day.step("resolve", "scheduled__x")
    day.gate()
    day.score("scheduled__x")


WRITERS: dict[str, Action] = {
    "ingest": newer_raw,
    "score": lambda day: (day.gate(), day.score("score")),
    "drift": lambda day: day.step("drift", "drift"),
    "performance": lambda day: day.step("performance", "performance"),
    "decide": lambda day: day.step("decide", "decide"),
    "promote": lambda day: (day.promote(3, reason="third"), day.gate(), day.score("promote")),
    "rollback": lambda day: (day.rollback(), day.gate(), day.score("rollback")),
    "retry": dead_then_retried,
}
"""Each as a process would run it; a transition is followed by the score that it is made for."""
REFUSALS = (CommitConflictError, GateRefusedError)
"""How a writer may end instead: it lost against another one, and says so."""


class Writer(threading.Thread):
    """A writer that runs until it passes a failpoint, and goes on when it is told to."""

    def __init__(self, name: str, day: Day) -> None:
        super().__init__(name=name, daemon=True)
        self.day, self.action = day, WRITERS[name]
        self.points: list[str] = []
        self.error: BaseException | None = None
        self._may_run, self._has_stopped = threading.Semaphore(0), threading.Semaphore(0)

    def run(self) -> None:
        at_failpoint.set(self._pass)
        self._may_run.acquire()
        try:
            self.action(self.day)
        except BaseException as error:  # noqa: BLE001 - told to the thread that waits
            self.error = error
        self.points.append("end")
        self._has_stopped.release()

    def _pass(self, point: str) -> None:
        self.points.append(point)
        self._has_stopped.release()
        self._may_run.acquire()

    @property
    def ended(self) -> bool:
        return self.points[-1:] == ["end"]

    def advance(self, count: int | None) -> None:
        """Runs up to its next `count` points, or to its end."""
        if not self.is_alive() and not self.points:
            self.start()
        for _ in itertools.count() if count is None else range(count):
            if self.ended:
                return
            self._may_run.release()
            assert self._has_stopped.acquire(timeout=120), f"{self.name} hangs after {self.points}"


@dataclass
class World(Day):
    """The day, and which deliveries there have been."""

    state: int = 1
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_state(self) -> int:
        self.state += 1
        return self.state


@pytest.fixture(scope="session")
def scored(tmp_path_factory) -> Path:
    """Version 1 has scored the day, which is realised and decided; version 2 is champion and has not scored it yet."""
    root = tmp_path_factory.mktemp("interleavings")
    versions = make_versions(root / "versions")
    day = World.born(root / "world", versions)
    day.ingest()
    day.gate()
    day.score()
    day.step("performance")
    day.step("decide")
    day.promote(2)
    for table in ("drift", "performance", "decisions"):
        day.lake.open(f"shop__{table}").delete()  # so that the steps have something to write
    shared(root)
    return root / "world"


def history(day: Day, table: str) -> Iterator[list[dict]]:
    """The rows of the date after each commit of a table, where there are some."""
    newest = day.lake.open(f"shop__{table}").version()
    for version in range(newest + 1):
        handle = day.lake.open(f"shop__{table}", version)
        rows = day.lake.read(f"shop__{table}", version=handle).to_pylist()
        mine = [row for row in rows if row.get("score_date", DAY) == DAY]
        if mine:
            yield mine


def never_falls(found: list) -> bool:
    return all(one <= other for one, other in itertools.pairwise(found))


def check(day: World, writers: list[Writer], *, settle: bool) -> None:
    """What must hold after any order of writers."""
    for writer in writers:
        if writer.error is not None and not isinstance(writer.error, REFUSALS):
            raise writer.error
    tallies = day.tallies()
    assert [one.generation for one in tallies] == list(range(1, len(tallies) + 1))
    for position in ([one.input.version for one in tallies], [one.promotion_sequence for one in tallies]):
        assert never_falls(position), position
    for table, state in STATE_OF.items():
        states = [{state(row) for row in rows} for rows in history(day, table)]
        assert all(len(mixed) == 1 for mixed in states), (table, states)
        assert never_falls([min(one) for one in states]), (table, states)
    assert day.states("features") == day.states("labels") == day.states("quarantine") == [day.state]
    for table in ("drift", "performance"):
        generations = [{row["generation"] for row in rows} for rows in history(day, table)]
        assert all(len(mixed) == 1 for mixed in generations), (table, generations)
        assert never_falls([min(one) for one in generations]), (table, generations)
    requests = [row["request"] for row in day.rows("promotions")]
    assert len(requests) == len(set(requests)), requests
    if settle:
        settles(day)


def settles(day: World) -> None:
    """One more run of everything ends with the day of the newest input, champion and labels, and then with nothing."""
    for last in (False, True):
        before = versions_of(day) if last else {}
        day.ingest()
        if not last:
            day.gate()
        for step in ("score", "drift", "performance", "decide"):
            day.step(step, "settle")
        if last:
            assert versions_of(day) == before
    newest, champion = day.tallies()[-1], max(day.rows("promotions"), key=lambda row: row["sequence"])
    assert newest.primary.version == champion["model_version"]
    assert newest.input.version == day.lake.open("shop__features").transaction_version(
        f"tallywright/shop__features/{DAY}"
    )
    for table in ("drift", "performance"):
        assert {row["generation"] for row in day.rows(table)} == {newest.generation}


def versions_of(day: Day) -> dict[str, int]:
    return {table: day.lake.open(table).version() for table in day.lake.tables()}


@pytest.fixture
def played(tmp_path, scored) -> Iterator[Callable[..., list[Writer]]]:
    """Plays a schedule, a list of writers' names and of how many points each goes on, in a day of its own."""
    numbers = itertools.count()

    def play(names: Sequence[str], *schedule: tuple[int, int | None], settle: bool = True) -> list[Writer]:
        root = tmp_path / str(next(numbers))
        shutil.copytree(scored, root)
        day = World(root)
        writers = [Writer(name, day) for name in names]
        for place, count in schedule:
            writers[place].advance(count)
        for writer in writers:
            writer.advance(None)
        try:
            check(day, writers, settle=settle)
        except (AssertionError, TallyError) as error:
            told = [(writer.name, writer.points, writer.error) for writer in writers]
            raise AssertionError(f"{names} {schedule}: {error!r} {told}") from error
        shutil.rmtree(root)
        return writers

    return play


@pytest.fixture(scope="session")
def alone(tmp_path_factory, scored) -> dict[str, list[str]]:
    """The points that each writer passes when nobody else writes."""
    found = {}
    for name in WRITERS:
        root = tmp_path_factory.mktemp("alone") / name
        shutil.copytree(scored, root)
        writer = Writer(name, World(root))
        writer.advance(None)
        found[name] = writer.points
    return found


DECISIVE = {
    "ingest": ("before-quarantine", "before-labels", "before-features", "before-inputs"),
    "score": ("staging", "before-commit", "before-drift"),
    "drift": ("before-drift",),
    "performance": ("before-performance",),
    "decide": ("before-decisions",),
    "promote": ("before-promotions", "before-commit"),
    "rollback": ("before-promotions",),
    "retry": ("before-commit",),
}
"""Where a writer is right before it commits."""
SHORT = {
    "ingest": ("before-labels", "before-features"),
    "score": ("before-commit", "before-drift"),
    "promote": ("before-promotions", "before-commit"),
}
"""Those of them at which `make test` holds it, where they are not all."""
MOVERS = ("ingest", "score", "promote", "rollback")
"""Writers that change what the rows of the others are about: `make test` holds them alone."""
EACH = [name if name in MOVERS else pytest.param(name, marks=pytest.mark.long) for name in WRITERS]


@pytest.mark.parametrize("name", EACH)
def test_a_writer_alone(played, name) -> None:
    (writer,) = played([name])
    assert writer.error is None
    assert set(DECISIVE[name]) <= set(writer.points)


@pytest.mark.slow
@pytest.mark.parametrize("name", EACH)
def test_a_writer_that_is_held_before_it_commits(played, alone, name) -> None:
    """While it is held, another writer, or another one of its kind, runs from its beginning to its end."""
    for point in SHORT.get(name, DECISIVE[name]):
        for other in dict.fromkeys((*MOVERS, name)):
            played([name, other], (0, passed(alone[name], point)), (1, None), settle=False)


@pytest.mark.long
@pytest.mark.parametrize("pair", list(itertools.product(WRITERS, repeat=2)), ids="-".join)
def test_every_pair_at_every_point(played, pair) -> None:
    """The first is held at each of its points in turn, while the second runs from its beginning to its end."""
    for count in itertools.count(1):
        first, _ = played(pair, (0, count), (1, None))
        if len(first.points) <= count:
            break


@pytest.mark.long
@pytest.mark.parametrize("pair", list(itertools.product(WRITERS, repeat=2)), ids="-".join)
def test_every_pair_with_two_switches(played, alone, pair) -> None:
    """Both are held, each right before a commit of its own; the first one ends, then the second."""
    for mine, theirs in itertools.product(*(stops(alone[name], name) for name in pair)):
        played(pair, (0, mine), (1, theirs), (0, None), (1, None))


@pytest.mark.long
@pytest.mark.parametrize("three", list(itertools.product(WRITERS, repeat=3)), ids="-".join)
def test_every_three_with_two_switches(played, alone, three) -> None:
    """The first is held before a commit, the second before one of its own, the third runs whole; then these end."""
    for mine, theirs in itertools.product(*(stops(alone[name], name)[-1:] for name in three[:2])):
        played(three, (0, mine), (1, theirs), (2, None), (1, None), (0, None))


def stops(points: list[str], name: str) -> list[int]:
    """How many points a writer passes until it stands right before each of its commits."""
    return [passed(points, point) for point in DECISIVE[name]]


def passed(points: list[str], point: str) -> int:
    """How many points are passed up to the last time at one, that one included."""
    return len(points) - points[::-1].index(point)
