"""Compares two generations of a scored day, row by row, and says why they differ; read by Delta's time travel."""

# ruff: noqa: S608 - names cannot be parameters; they are quoted, and values are counted by the database
from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tallywright.data.delta.damage import GONE
from tallywright.data.delta.lake import Lake
from tallywright.data.delta.rows import quoted
from tallywright.data.embedded_sql import connect, sql_errors, text_literal
from tallywright.errors import InputError, IntegrityError, StorageError
from tallywright.scoring.commit.manifests import logged_tallies, recorded_tallies
from tallywright.scoring.commit.scores_table import generation_in
from tallywright.scoring.commit.standing import tally_rows
from tallywright.scoring.identity import MODEL, RESTATED, SPEC, changes_between

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    import duckdb
    import pyarrow as pa

    from tallywright.records import Manifest
    from tallywright.scoring.commit.manifests import Tally
    from tallywright.spec import ModelSpec, Project

UNEXPLAINED: Final = "unexplained"
"""The cause of a row that differs although its input, its model and the scoring section are the same."""
_PROVENANCE: Final = ("model_name", "model_version", "role", "input_version")
_SIDES: Final = ("before", "after")


@dataclass(frozen=True, slots=True)
class DayDiff:
    """Two generations of a day.

    `summary` is JSON-able. `rows` are those that differ, by key: the key, `state` (`changed`, `only before`,
    `only after`), `why`, and each output, `model_version` and `role` before and after.
    """

    summary: dict[str, Any]
    rows: pa.Table


def diff(project: Project, day: date, generations: tuple[int, int] | None = None) -> DayDiff:
    """Compares two generations of a day, by default its last two.

    Args:
        project: The model project.
        day: The score date.
        generations: The older and the newer one.

    Raises:
        InputError: The day has no such generations, or the rows of one were deleted by maintenance.
        IntegrityError: The rows of one are not those that it has committed.
        StorageError: The lake cannot be read.
    """
    lake, spec = Lake.of(project.environment), project.spec
    tallies = _chosen(lake, spec, day, generations)
    rows = [_rows(lake, spec, tally) for tally in tallies]
    manifests = [tally.manifest for tally in tallies]
    inputs, note = _inputs(lake, manifests)
    connection = connect()
    try:
        with sql_errors(f"comparing generations of {day}", "report it with the output of `tally -v`"):
            for name, table in zip((*_SIDES, *(f"input_{side}" for side in _SIDES)), (*rows, *inputs), strict=False):
                connection.register(name, table)
            compared = _Comparison(spec, manifests, rows, [*inputs])
            connection.execute(f"CREATE TABLE compared AS {compared.query()}")
            summary = _summary(connection, compared, manifests, note)
            order = ", ".join(quoted(name) for name in spec.data.key)
            found = connection.sql(f"SELECT * FROM compared WHERE state <> 'same' ORDER BY {order}").to_arrow_table()
    finally:
        connection.close()
    return DayDiff(summary, found)


def _chosen(lake: Lake, spec: ModelSpec, day: date, wanted: tuple[int, int] | None) -> list[Tally]:
    """The two tallies, from the table of tallies or from the log of the scores."""
    table = lake.find(spec.table("scores"))
    logged = [] if table is None else list(logged_tallies(lake, table, day))
    known = {tally.manifest.generation: tally for tally in (*logged, *recorded_tallies(lake, spec, day))}
    numbers = sorted(known)
    chosen = numbers[-2:] if wanted is None else sorted(set(wanted))
    if len(chosen) < 2 or not {*chosen} <= {*numbers}:  # noqa: PLR2004 - two are compared
        asked = "its last two" if wanted is None else " and ".join(map(str, wanted))
        there = "no generation" if not numbers else f"generation {numbers[0]} alone"
        if len(numbers) > 1:
            there = f"the generations {', '.join(map(str, numbers))}"
        raise InputError(
            f"{day} of {spec.name} has {there}; {asked} cannot be compared",
            expected="two different generations of the day",
            remedy=f'`tally query "select generation, reason from {spec.table("tallies")} where score_date = '
            f"date '{day}'\"` lists them",
        )
    return [known[number] for number in chosen]


def _rows(lake: Lake, spec: ModelSpec, tally: Tally) -> pa.Table:
    """The rows of a generation, at the version of the table that it made; those of the newest as they stand now.

    Raises:
        InputError: Maintenance has deleted them.
        IntegrityError: They are not what it has committed.
    """
    manifest, table = tally.manifest, spec.table("scores")
    newest = lake.find(table)
    if newest is not None and generation_in(newest, spec, manifest.score_date) == manifest.generation:
        return tally_rows(lake, spec, tally, newest)
    try:
        return tally_rows(lake, spec, tally.held_by(manifest.files), lake.look(table, tally.version))
    except (StorageError, IntegrityError) as error:
        lake.files(table, day=manifest.score_date)  # raises where it is the storage that is away
        if isinstance(error, IntegrityError) and GONE not in error.found:
            raise _lost(spec, manifest, error) from error
        raise InputError(
            f"generation {manifest.generation} of {manifest.score_date} can no longer be read: version "
            f"{tally.version} of {table} is gone ({error.found})",
            expected="a version that maintenance has kept: VACUUM deletes what is older than "
            f"maintenance.retention_days ({spec.maintenance.retention_days})",
            remedy="compare younger generations; `tally trace` tells what the manifest of this one says",
        ) from error


def _lost(spec: ModelSpec, manifest: Manifest, error: IntegrityError) -> IntegrityError:
    """The error about a generation that was replaced: nothing commits it again."""
    return IntegrityError(
        error.found,
        expected=f"the files that generation {manifest.generation} of {spec.name} committed",
        remedy="restore the file from a backup, or compare other generations: this one is not the one that stands",
    )


def _inputs(lake: Lake, manifests: Sequence[Manifest]) -> tuple[tuple[pa.Table, ...], str]:
    """Both inputs where they differ and can still be read, and a note where they cannot."""
    pinned = [manifest.input for manifest in manifests]
    if pinned[0].fingerprint == pinned[1].fingerprint:
        return (), ""
    try:
        before, after = (
            lake.read(one.table, where={"score_date": one.score_date}, version=one.version) for one in pinned
        )
    except (StorageError, IntegrityError) as error:
        lake.files(pinned[0].table, day=pinned[0].score_date)  # raises where it is the storage that is away
        return (), f"the input rows cannot be compared, one version of {pinned[0].table} is gone ({error.found})"
    columns = [name for name in before.column_names if name in after.column_names and name != "score_date"]
    return (before.select(columns), after.select(columns)), ""


@dataclass(frozen=True, slots=True)
class _Comparison:
    """The query that compares two generations."""

    spec: ModelSpec
    manifests: Sequence[Manifest]
    rows: Sequence[pa.Table]
    inputs: Sequence[pa.Table]

    @property
    def outputs(self) -> list[str]:
        """The outputs that both generations have."""
        skipped = {*self.spec.data.key, "score_date", *_PROVENANCE}
        before, after = (table.column_names for table in self.rows)
        return [name for name in before if name in after and name not in skipped]

    @property
    def changes(self) -> list[str]:
        """Which of input, model, spec differ between the manifests."""
        before, after = self.manifests
        return changes_between(before, after, self.spec.scoring)

    def query(self) -> str:
        """A row a key: the key, `state`, `why`, and the values of both sides."""
        keys = ", ".join(
            f"coalesce(b.{quoted(name)}, a.{quoted(name)}) AS {quoted(name)}" for name in self.spec.data.key
        )
        values = ", ".join(
            f"{side[0]}.{quoted(name)} AS {quoted(f'{name}_{side}')}"
            for name in (*self.outputs, "model_version", "role")
            for side in _SIDES
        )
        differ = _distinct("b", "a", self.outputs)
        state = (
            f"CASE WHEN a.here IS NULL THEN 'only before' WHEN b.here IS NULL THEN 'only after' "
            f"WHEN {differ} THEN 'changed' ELSE 'same' END"
        )
        pairs = (
            f"SELECT {keys}, {state} AS state, {values}, {self._restated()} AS restated, "
            f"{self._model_changed()} AS model_changed "
            f"FROM (SELECT *, true AS here FROM before) b FULL JOIN (SELECT *, true AS here FROM after) a "
            f"ON {self._same_key('b', 'a')}{self._restated_join()}"
        )
        return f"SELECT * EXCLUDE (restated, model_changed), {self._why()} AS why FROM ({pairs})"

    def _same_key(self, left: str, right: str) -> str:
        return " AND ".join(f"{left}.{quoted(name)} = {right}.{quoted(name)}" for name in self.spec.data.key)

    def _restated(self) -> str:
        return "(i.restated IS NOT NULL)" if self.inputs else "false"

    def _restated_join(self) -> str:
        """Joins the keys whose input row is another."""
        if not self.inputs:
            return ""
        columns = [name for name in self.inputs[0].column_names if name not in self.spec.data.key]
        differ = _distinct("x", "y", columns)
        keys = ", ".join(f"x.{quoted(name)}" for name in self.spec.data.key)
        restated = (
            f"SELECT {keys}, true AS restated FROM input_before x JOIN input_after y "
            f"ON {self._same_key('x', 'y')} WHERE {differ}"
        )
        on = " AND ".join(f"i.{quoted(name)} = a.{quoted(name)}" for name in self.spec.data.key)
        return f" LEFT JOIN ({restated}) i ON {on}"

    def _model_changed(self) -> str:
        return _distinct("b", "a", ["model_version", "role"]) if MODEL in self.changes else "false"

    def _why(self) -> str:
        """The cause of a row: what of its own input and model differs, else the spec; else nothing explains it."""
        changes = self.changes
        row_wise = bool(self.inputs) or RESTATED not in changes
        whole = text_literal("+".join(changes) or UNEXPLAINED)
        rest = text_literal(SPEC if SPEC in changes else UNEXPLAINED)
        lost = text_literal(RESTATED if RESTATED in changes else UNEXPLAINED)
        own = f"concat_ws('+', CASE WHEN restated THEN '{RESTATED}' END, CASE WHEN model_changed THEN '{MODEL}' END)"
        changed = f"coalesce(nullif({own}, ''), {rest})" if row_wise else whole
        return f"CASE state WHEN 'same' THEN '' WHEN 'changed' THEN {changed} ELSE {lost} END"


def _distinct(left: str, right: str, columns: Sequence[str]) -> str:
    if not columns:
        return "false"
    return "(" + " OR ".join(f"{left}.{quoted(n)} IS DISTINCT FROM {right}.{quoted(n)}" for n in columns) + ")"


def _summary(
    connection: duckdb.DuckDBPyConnection, compared: _Comparison, manifests: Sequence[Manifest], note: str
) -> dict[str, Any]:
    counts = dict(connection.execute("SELECT state, count(*) FROM compared GROUP BY 1").fetchall())
    causes = connection.execute(
        "SELECT why, count(*) FROM compared WHERE state <> 'same' GROUP BY 1 ORDER BY 2 DESC, 1"
    ).fetchall()
    before, after = manifests
    return {
        "score_date": before.score_date,
        "before": _side(before),
        "after": _side(after),
        "why": {change: _told(change, before, after) for change in compared.changes},
        "rows": {state: counts.get(state, 0) for state in ("same", "changed", "only before", "only after")},
        "rows that differ, by cause": dict(causes),
        "outputs": {name: found for name in compared.outputs if (found := _output(connection, compared, name))},
        **({"note": note} if note else {}),
    }


def _side(manifest: Manifest) -> dict[str, Any]:
    return {
        "generation": manifest.generation,
        "reason": manifest.reason,
        "rows": manifest.rows,
        "models": [f"{ref.role.value}: version {ref.version}" for ref in manifest.models],
        "input": f"version {manifest.input.version} of {manifest.input.table}",
        "committed_at": manifest.committed_at,
        "run_id": manifest.run_id,
    }


def _output(connection: duckdb.DuckDBPyConnection, compared: _Comparison, name: str) -> dict[str, Any]:
    """How an output has changed on the rows of both; its means and largest difference where it is a number."""
    b, a = quoted(f"{name}_before"), quoted(f"{name}_after")
    query = f"SELECT count(*) FILTER ({b} IS DISTINCT FROM {a}), count(*)"
    number = all(str(table.schema.field(name).type) in _NUMBERS for table in compared.rows)
    query += f", avg({b}), avg({a}), max(abs({a}::DOUBLE - {b}::DOUBLE))" if number else ", NULL, NULL, NULL"
    (row,) = connection.execute(f"{query} FROM compared WHERE state IN ('same', 'changed')").fetchall()
    differs, both, mean_before, mean_after, largest = row
    found = {"differs": differs, "share": differs / both if both else None}
    means = {"mean before": mean_before, "mean after": mean_after, "largest difference": largest}
    return found | (means if number else {})


_NUMBERS: Final = {"int32", "int64", "float", "double"}


def _told(change: str, before: Manifest, after: Manifest) -> str:
    if change == RESTATED:
        return f"version {before.input.version} -> {after.input.version} of {after.input.table}"
    if change == MODEL:
        return f"{_models(before)} -> {_models(after)}"
    return "; ".join(_settings(before, after)) or "the scoring section, which one of the manifests does not hold"


def _models(manifest: Manifest) -> str:
    return ", ".join(f"{ref.role.value} {ref.version} ({ref.digest[:8]})" for ref in manifest.models)


def _settings(before: Manifest, after: Manifest) -> list[str]:
    """The settings of the scoring section that differ."""
    if not (before.scoring_json and after.scoring_json):
        return []
    old, new = (_flat(json.loads(manifest.scoring_json)) for manifest in (before, after))
    return [
        f"scoring.{name}: {old.get(name)} -> {new.get(name)}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
