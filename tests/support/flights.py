"""The raw flights as tests see them: the project's queries over any version of the past, and an oracle."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tallywright.data.embedded_sql import connect
from tallywright.data.etl.queries import Query, checked
from tallywright.data.etl.sources import read_sources
from tallywright.data.raw.staging import read_account
from tallywright.data.raw.typed import SOURCE_ROW
from tallywright.spec import load_project

if TYPE_CHECKING:
    from tallywright.spec import Project

HOME: Final = ZoneInfo("America/New_York")
_NOT_LISTED: Final = dict.fromkeys(("BQN", "PSE", "SJU", "STT"), "America/Puerto_Rico")


@dataclass(frozen=True)
class Raw:
    """The three raw relations, as ingest stages them."""

    flights: pa.Table
    weather: pa.Table
    airports: pa.Table

    def around(self, day: date, *, before: int = 31, after: int = 1) -> Raw:
        """The same with the flights of some days only, for speed."""
        days = {day + timedelta(days=offset) for offset in range(-before, after + 1)}
        keys = pa.array([f"{one.month}/{one.day}" for one in days])
        found = pc.binary_join_element_wise(self.flights["month"], self.flights["day"], "/")
        return replace(self, flights=self.flights.filter(pc.is_in(found, keys)))

    def without_numbers(self) -> Raw:
        """The same with the columns that the files have, to be written as files again."""
        return Raw(*(table.drop_columns(SOURCE_ROW) for table in (self.flights, self.weather, self.airports)))


@dataclass(frozen=True)
class Queries:
    """The texts of the project's three queries, to be run as they are or spoilt on purpose."""

    contract: str
    features: str
    labels: str

    def spoilt(self, file: str, right: str, wrong: str) -> Queries:
        """A variant with one mistake; the place must be there, or the test would prove nothing."""
        text = getattr(self, file)
        assert right in text, f"{file}.sql no longer says {right!r}: correct the test"
        return replace(self, **{file: text.replace(right, wrong)})


@dataclass(frozen=True)
class Ran:
    """What the queries gave, features and labels in key order."""

    contract: pa.Table
    features: pa.Table
    labels: pa.Table

    def known_by(self, moment: datetime) -> list[tuple[Any, ...]]:
        """The rows asked at or before a moment, floats to the bit."""
        chosen = self.features.filter(pc.less_equal(self.features["score_moment"], moment.replace(tzinfo=None)))
        return exact_rows(chosen)


def exact_rows(table: pa.Table) -> list[tuple[Any, ...]]:
    """Rows that are equal when all bits are."""
    columns = [
        [value.hex() if isinstance(value, float) else value for value in table[name].to_pylist()]
        for name in table.column_names
    ]
    return list(zip(*columns, strict=True))


def load_flights(repository: Path, work: Path) -> tuple[Project, Raw]:
    """The reference project and all of its raw data, staged below `work`."""
    project = load_project("flight_delays", root=repository, overrides=[f"environment.storage.work={work}"])
    staged = {name: files[0] for name, files in read_sources(project).files.items()}
    accounts = {name: read_account(file) for name, file in staged.items()}
    # What queries see: the columns of the files, and what numbers their rows.
    columns = {name: [*account.columns, account.number] for name, account in accounts.items()}
    return project, Raw(**{name: pq.ParquetFile(file).read(columns[name]) for name, file in staged.items()})


def load_queries(project: Project) -> Queries:
    """The queries that model.yaml names."""
    data = project.spec.data
    texts = [(project.folder / file).read_text() for file in (data.contract, data.features, data.labels)]
    return Queries(*texts)


def run_queries(queries: Queries, raw: Raw, first: date, last: date, *, lookback: int = 31) -> Ran:
    """Runs the queries as ingest does: contract, the good rows as `accepted`, features, labels."""
    parameters = {"from_date": first, "to_date": last, "lookback_date": first - timedelta(days=lookback)}
    with connect() as connection:
        connection.execute("SET default_null_order = 'nulls_first_on_asc_last_on_desc'")
        for name in ("flights", "weather", "airports"):
            connection.register(name, getattr(raw, name))
        contract, features, labels = (
            checked(connection, Query(text, parameters, name))
            for text, name in (
                (queries.contract, "contract"),
                (queries.features, "features"),
                (queries.labels, "labels"),
            )
        )
        connection.execute(f"CREATE TEMP TABLE contract AS {contract.text}", contract.values)
        connection.execute(
            "CREATE VIEW accepted AS SELECT * EXCLUDE (reject_reason) FROM contract WHERE reject_reason IS NULL"
        )
        in_order = "SELECT * FROM ({}) ORDER BY score_date, flight_id"
        return Ran(
            connection.sql("SELECT * FROM contract").to_arrow_table(),
            connection.sql(in_order.format(features.text), params=features.values).to_arrow_table(),
            connection.sql(in_order.format(labels.text), params=labels.values).to_arrow_table(),
        )


class Truth:
    """When things happened, by the clocks of the zones' own names: nothing here is shared with the queries."""

    def __init__(self, raw: Raw) -> None:
        names = dict(zip(raw.airports["faa"].to_pylist(), raw.airports["tzone"].to_pylist(), strict=True))
        self.zones = {code: ZoneInfo(name) for code, name in (names | _NOT_LISTED).items() if name}

    @staticmethod
    def scheduled(flight: dict[str, str | None]) -> datetime:
        """The scheduled departure, from New York's local clock."""
        local = datetime(int(flight["year"]), int(flight["month"]), int(flight["day"]), tzinfo=HOME)
        clock = int(flight["sched_dep_time"])
        return local.replace(hour=clock // 100, minute=clock % 100).astimezone(UTC)

    def departed(self, flight: dict[str, str | None]) -> datetime | None:
        """The departure; None when it never did."""
        if flight["dep_delay"] is None:
            return None
        return self.scheduled(flight) + timedelta(minutes=int(flight["dep_delay"]))

    def arrived(self, flight: dict[str, str | None]) -> datetime | None:
        """The arrival at the gate: the first time after the flight that its local clock shows arr_time."""
        departed = self.departed(flight)
        if departed is None or flight["arr_delay"] is None:
            return None
        return self.next_at(flight, "arr_time", departed + timedelta(minutes=int(flight["air_time"])))

    def next_at(self, flight: dict[str, str | None], clock: str, after: datetime) -> datetime:
        """The first instant not before `after` at which the destination's clock shows a reading."""
        reading = int(flight[clock])
        local = after.astimezone(self.zones[flight["dest"]])
        wait = (reading // 100 * 60 + reading % 100 - local.hour * 60 - local.minute) % 1440
        return after + timedelta(minutes=wait)


class Rewriter:
    """Changes all that was not known at a moment: outcomes, later flights and weather, every tail number."""

    def __init__(self, raw: Raw, moment: datetime, seed: int) -> None:
        self._raw = raw
        self._moment = moment
        self._settled = moment.date() - timedelta(days=3)  # the longest delay and flight together take 33 hours
        self._truth = Truth(raw)
        self._random = random.Random(seed)
        self._dests = sorted(set(raw.flights["dest"].to_pylist()))

    def rewritten(self) -> Raw:
        """Another world with the same past."""
        flights = [new for flight in self._raw.flights.to_pylist() if (new := self._flight(flight)) is not None]
        self._random.shuffle(flights)
        weather = [new for hour in self._raw.weather.to_pylist() if (new := self._hour(hour)) is not None]
        return replace(
            self._raw,
            flights=pa.Table.from_pylist(flights, schema=self._raw.flights.schema),
            weather=pa.Table.from_pylist(weather, schema=self._raw.weather.schema),
        )

    def _flight(self, flight: dict[str, Any]) -> dict[str, Any] | None:
        flight = flight | {"tailnum": self._random.choice([None, "N1", "N" + "7" * self._random.randrange(1, 9)])}
        if date(int(flight["year"]), int(flight["month"]), int(flight["day"])) < self._settled:
            return flight
        scheduled = self._truth.scheduled(flight)
        if scheduled > self._moment + timedelta(hours=2):
            if self._random.random() < 0.5:
                return None
            flight |= {"dest": self._random.choice(self._dests), "carrier": self._random.choice(["AA", "B6", "XX"])}
        departed, arrived = self._truth.departed(flight), self._truth.arrived(flight)
        if departed is None or departed > self._moment:
            departed = None if self._random.random() < 0.2 else self._later(self._moment)
            flight |= self._departure(scheduled, departed)
        elif arrived is not None and arrived <= self._moment:
            return flight
        return flight | self._arrival(flight, departed)

    def _departure(self, scheduled: datetime, departed: datetime | None) -> dict[str, Any]:
        if departed is None:
            return {"dep_time": None, "dep_delay": None}
        return {"dep_time": _clock(departed.astimezone(HOME)), "dep_delay": _minutes(departed - scheduled)}

    def _arrival(self, flight: dict[str, Any], departed: datetime | None) -> dict[str, Any]:
        if departed is None or self._random.random() < 0.1:
            return {"arr_time": None, "arr_delay": None, "air_time": None}
        arrived = self._later(max(departed, self._moment))
        due = self._truth.next_at(flight, "sched_arr_time", self._truth.scheduled(flight))
        local = arrived.astimezone(self._truth.zones[flight["dest"]])
        return {
            "arr_time": _clock(local),
            "arr_delay": _minutes(arrived - due),
            "air_time": str(self._random.randrange(1, _whole(arrived - departed) + 1)),
        }

    def _hour(self, hour: dict[str, Any]) -> dict[str, Any] | None:
        if datetime.fromisoformat(hour["time_hour"]) + timedelta(hours=1) <= self._moment:
            return hour
        if self._random.random() < 0.3:
            return None
        measured = ("temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib")
        return hour | {name: self._random.uniform(0, 100) for name in measured}

    def _later(self, moment: datetime) -> datetime:
        return moment + timedelta(minutes=self._random.randrange(1, 900))


def _whole(span: timedelta) -> int:
    return int(span.total_seconds()) // 60


def _minutes(span: timedelta) -> str:
    return str(_whole(span))


def _clock(local: datetime) -> str:
    return str(local.hour * 100 + local.minute)
