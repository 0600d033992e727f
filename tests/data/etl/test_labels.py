"""Labels that come late: they are read again until their wait is over, in whatever order the days are run."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import permutations

import pytest

from tallywright.data.etl import transform
from tallywright.data.etl.ingest import ingest, ingest_and_relabel
from tallywright.data.etl.label_readings import LabelReading, dates_to_read, label_readings
from tallywright.data.etl.labels import refresh_labels
from tallywright.data.snapshot import take_snapshot
from tallywright.errors import InputError

DAYS = [date(2024, 1, number) for number in range(1, 6)]
FINAL = """
SELECT id, score_date, CAST(outcome AS INTEGER) AS bad, CAST(known_at AS TIMESTAMP) AS label_time,
       CASE WHEN outcome IS NOT NULL THEN 'known' WHEN score_date <= :label_final_date THEN 'never' ELSE 'missing' END
           AS label_status
FROM accepted WHERE score_date BETWEEN :from_date AND :to_date
"""


@pytest.fixture
def late(shop):
    """Each day, orders 7 and 8 are labelled a day and two days late, and order 9 never; the wait is two days."""
    shop.labels = FINAL
    shop.data = {"label_maturity_days": 2}
    shop.full = [_line(shop, place, number) for place in range(5) for number in range(10)]
    shop.lines = list(shop.full)
    return shop


def _line(shop, place: int, number: int) -> str:
    day = DAYS[place]
    delay = {7: 1, 8: 2}.get(number, 0)
    if number == 9:
        return shop.order(10 * place + number, str(day), outcome=None, known_at=None)
    return shop.order(10 * place + number, str(day), known_at=f"{day + timedelta(days=delay)} 18:00:00")


def as_of(shop, day: date) -> None:
    """The raw files as they are at 04:00 on the day after."""
    now = datetime.combine(day + timedelta(days=1), datetime.min.time()).replace(hour=4)
    shop.lines = [_without_label(line) if _known_at(line) > now else line for line in shop.full
                  if date.fromisoformat(line.split(",")[1]) <= day]  # fmt: skip


def _known_at(line: str) -> datetime:
    text = line.split(",")[5]
    return datetime(1, 1, 1) if text == "NA" else datetime.fromisoformat(text)  # noqa: DTZ001


def _without_label(line: str) -> str:
    return ",".join([*line.split(",")[:4], "NA", "NA"])


def run(shop, day: date) -> list:
    """What a run of one day does with labels: the day's own, then those of younger dates."""
    ingest(shop.project(), shop.lake, day, day)
    return refresh_labels(shop.project(), shop.lake, day, day)


def counts(shop) -> dict[int, dict[str, int]]:
    found: dict[int, dict[str, int]] = {}
    for row in shop.lake.read("shop__labels").to_pylist():
        of_day = found.setdefault(row["score_date"].day, {})
        of_day[row["label_status"]] = of_day.get(row["label_status"], 0) + 1
    return dict(sorted(found.items()))


def content(shop) -> list[tuple]:
    rows = shop.lake.read("shop__labels").to_pylist()
    readings = label_readings(shop.lake, shop.spec()).values()
    return sorted((row["id"], row["score_date"], row["bad"], row["label_status"]) for row in rows) + sorted(
        (row.score_date, row.as_of, row.fingerprint, row.mature_fingerprint) for row in readings
    )


def versions(shop) -> dict[str, int]:
    return {table: shop.lake.open(table).version() for table in shop.lake.tables()}


def test_each_run_reads_the_labels_of_younger_dates_again(late, heard) -> None:
    young, day_old, final = ({"known": 7, "missing": 3}, {"known": 8, "missing": 2}, {"known": 9, "never": 1})
    for place, day in enumerate(DAYS):
        as_of(late, day)
        run(late, day)
        wanted = {number + 1: final for number in range(place - 1)}
        wanted |= {place: day_old} if place else {}
        assert counts(late) == wanted | {place + 1: young}
    assert "labels of 2024-01-03 changed: 1 more are known" in heard.text
    before = versions(late)
    assert run(late, DAYS[-1]) == []
    assert run(late, DAYS[1]) == []  # a repeat of an old day takes nothing back
    assert versions(late) == before


def test_a_label_that_was_never_to_come_is_taken_and_said(late, heard) -> None:
    for day in DAYS:
        run(late, day)
    assert counts(late)[3] == {"known": 9, "never": 1}
    late.lines = [late.order(29, "2024-01-03", known_at="2024-01-05 20:00:00") if line.startswith("o29,") else line
                  for line in late.lines]  # fmt: skip
    (change,) = refresh_labels(late.project(), late.lake, DAYS[-1], DAYS[-1])
    assert (change.score_date, change.arrived, change.revoked, change.lost) == (DAYS[2], 1, 1, 0)
    assert "1 more are known (1 of them were `never`)" in heard.text
    assert counts(late)[3] == {"known": 10}


def test_only_what_changed_is_said_and_never_and_other_values_are_changes(late, heard) -> None:
    for day in DAYS[:4]:
        run(late, day)
    heard.clear()
    changes = {change.score_date: change for change in run(late, DAYS[4])}
    assert (changes[DAYS[2]].never, changes[DAYS[2]].arrived, changes[DAYS[2]].lost) == (1, 0, 0)
    assert "labels of 2024-01-03 changed: 1 more never come; now 9 are known and 1 never come" in heard.text
    late.lines = [late.order(21, "2024-01-03", outcome=0) if line.startswith("o21,") else line for line in late.lines]
    late.lines = [line for line in late.lines if not line.startswith("o22,")] + [
        _without_label(late.order(22, "2024-01-03"))
    ]
    (change,) = refresh_labels(late.project(), late.lake, DAYS[4], DAYS[4])
    assert (change.restated, change.lost, change.never) == (1, 1, 1)
    assert "changed: 1 have another value, 1 are not known any more, 1 more never come; now 8 are" in heard.text
    late.lines = [line.replace("2024-01-03 18:", "2024-01-03 19:") for line in late.lines]
    refresh_labels(late.project(), late.lake, DAYS[4], DAYS[4])
    assert "labels of 2024-01-03 were written again with the same values" in heard.text


def test_another_name_of_the_negative_class_is_said_and_stops_nothing(shop, heard) -> None:
    """By the newest tally; where there is none, by the dates of the run before."""
    shop.training = {"positive": "1"}
    outcomes = ("0", "0", "2")
    shop.lines = [shop.order(10 * place + number, str(DAYS[place]), outcome=1 if number % 2 else outcome)
                  for place, outcome in enumerate(outcomes) for number in range(4)]  # fmt: skip
    shop.labels = FINAL.replace("AS INTEGER", "AS VARCHAR")
    ingest(shop.project(), shop.lake, DAYS[0], DAYS[2])
    assert (
        "labels of 2024-01-03: bad has the class '2' in 2 rows, where the class beside '1' was '0' so far" in heard.text
    )
    assert heard.text.count("has the class") == 1


@pytest.mark.parametrize("order", [*permutations(range(4))][::5])
def test_no_order_of_the_days_leaves_a_label_behind(late, tmp_path, order) -> None:
    """Whatever the order, everything ends as if the range had been read at once, the newest day included."""
    late.lines = [line for line in late.full if not line.split(",")[1].endswith("-05")]
    for place in order:
        run(late, DAYS[place])
    found = content(late)
    late.folder = tmp_path / "twin"
    late.folder.mkdir()
    ingest(late.project(), late.lake, DAYS[0], DAYS[3])
    assert found == content(late)


@pytest.mark.parametrize("order", [*permutations(range(4))][::8])
def test_one_reading_for_a_day_and_for_younger_labels_does_what_two_do(late, tmp_path, monkeypatch, order) -> None:
    opened: list[object] = []
    engine = transform.sql_engine
    monkeypatch.setattr(transform, "sql_engine", lambda project: opened.append(project) or engine(project))
    late.lines = [line for line in late.full if not line.split(",")[1].endswith("-05")]
    changed = []
    for number, place in enumerate(order, start=1):
        found = ingest_and_relabel(late.project(), late.lake, DAYS[place], DAYS[place])
        newest = place == max(order[:number])
        assert len(opened) == number, "the SQL ran once"
        if found is None:  # a younger date that lies after this one is no part of its reading
            assert not newest
            found = [
                change.score_date for change in refresh_labels(late.project(), late.lake, DAYS[place], DAYS[place])
            ]
            opened.pop()
        changed.append(found)
    together = content(late)
    late.folder = tmp_path / "twin"
    late.folder.mkdir()
    assert changed == [[change.score_date for change in run(late, DAYS[place])] for place in order]
    assert together == content(late)


def test_a_younger_date_that_cannot_be_read_stops_no_day(late, heard) -> None:
    run(late, DAYS[0])
    before = counts(late)[1]
    late.lines = [line.replace(",1,", ",x,", 1) if line.startswith("o1,") else line for line in late.full]
    assert late.lines != late.full
    assert ingest_and_relabel(late.project(), late.lake, DAYS[1], DAYS[1]) is None
    assert counts(late) == {1: before, 2: {"known": 9, "missing": 1}}
    assert "the labels of younger dates are read by themselves" in heard.text
    with pytest.raises(InputError):
        refresh_labels(late.project(), late.lake, DAYS[1], DAYS[1])


def test_after_an_outage_the_dates_whose_wait_ended_meanwhile_are_read_once_more(late) -> None:
    as_of(late, DAYS[0])
    run(late, DAYS[0])
    late.lines = list(late.full)
    assert [change.score_date for change in run(late, DAYS[4])] == [DAYS[0]]
    assert counts(late)[1] == {"known": 9, "never": 1}


def test_raw_files_that_no_longer_hold_a_date_take_no_label_away(late, heard) -> None:
    for day in DAYS[:4]:
        run(late, day)
    before = counts(late)[4]
    late.lines = [line for line in late.full if line.split(",")[1].endswith("-05") or line.startswith("o30,")]
    run(late, DAYS[4])
    assert counts(late)[4] == before
    assert "labels of 2024-01-04 stay as they are: the raw files hold 1 of its 10 rows" in heard.text


def test_a_reading_that_fails_leaves_its_dates_to_the_next_run(late) -> None:
    run(late, DAYS[0])
    ingest(late.project(), late.lake, DAYS[1], DAYS[1])
    good, late.labels = late.labels, late.labels.replace("outcome IS NOT NULL", "no_such_column")
    with pytest.raises(InputError, match="no_such_column"):
        refresh_labels(late.project(), late.lake, DAYS[1], DAYS[1])
    late.labels = good
    assert label_readings(late.lake, late.spec())[DAYS[0]].as_of == DAYS[0]
    run(late, DAYS[2])
    assert counts(late)[1] == {"known": 9, "never": 1}


def test_a_date_is_due_until_it_was_read_after_its_wait(late) -> None:
    spec = late.spec()

    def reading(day: date, as_of: date) -> LabelReading:
        return LabelReading(score_date=day, model_name="shop", as_of=as_of, known=0, never=0, fingerprint="",
                            mature_fingerprint="", recorded_at=datetime(2024, 1, 1))  # noqa: DTZ001  # fmt: skip

    everything = set(DAYS)
    read = {day: reading(day, day) for day in DAYS}
    assert dates_to_read(spec, everything, read, DAYS[4], DAYS[4]) == DAYS[:4]
    done = read | {DAYS[0]: reading(DAYS[0], DAYS[2]), DAYS[1]: reading(DAYS[1], DAYS[3])}
    assert dates_to_read(spec, everything, done, DAYS[4], DAYS[4]) == DAYS[2:4]
    # Of a lake of before nothing is recorded: the window of the run, and no more.
    assert dates_to_read(spec, everything, {}, DAYS[4], DAYS[4]) == DAYS[2:4]
    assert dates_to_read(spec, everything - {DAYS[3]}, {}, DAYS[4], DAYS[4]) == [DAYS[2]]


def test_training_leaves_out_the_dates_whose_labels_still_arrive(late, heard) -> None:
    ingest(late.project(), late.lake, DAYS[0], DAYS[4])
    late.training = {"window_days": 2}
    taken = take_snapshot(late.project(), late.lake, date(2024, 1, 6))
    assert (taken.train_from, taken.validation_to, taken.holdout_to) == (DAYS[1], DAYS[2], DAYS[3])
    assert "the windows end on 2024-01-04: 10 rows of 1 later day are not used" in heard.text


@pytest.mark.parametrize(("maturity", "wait", "last"), [(0, 0, 5), (1, 1, 5), (1, 3, 3), (2, None, 4)])
def test_windows_move_with_the_wait_and_keep_their_lengths(shop, maturity, wait, last) -> None:
    shop.data = {"label_maturity_days": maturity} | ({} if wait is None else {"label_wait_days": wait})
    shop.training = {"window_days": 2, "validation_days": 1, "holdout_days": 1}
    ingest(shop.project(), shop.lake, DAYS[0], DAYS[4])
    taken = take_snapshot(shop.project(), shop.lake, date(2024, 1, 6))
    assert taken.holdout_to == date(2024, 1, last)
    assert (taken.holdout_to - taken.train_from).days == 2


def test_with_a_wait_of_120_days_training_ends_120_days_before(shop) -> None:
    first = date(2024, 1, 1)
    shop.data = {"label_maturity_days": 30, "label_wait_days": 120}
    shop.lines = [shop.order(10 * place + number, str(first + timedelta(days=place)))
                  for place in (0, 1, 2, 3, 4, 122) for number in range(10)]  # fmt: skip
    project = shop.project()
    spec = project.spec.model_copy(
        update={"schedule": project.spec.schedule.model_copy(update={"end_date": date(2024, 12, 31)})}
    )
    project = type(project)(spec=spec, folder=project.folder, root=project.root, environment=project.environment)
    for day in (*DAYS, first + timedelta(days=122)):
        ingest(project, shop.lake, day, day)
    taken = take_snapshot(project, shop.lake, first + timedelta(days=123))
    assert taken.holdout_to == first + timedelta(days=3)
    assert taken.train_from == first
    assert taken.rows == {"train": 20, "validation": 10, "holdout": 10}


def test_a_closed_day_is_left_out_and_said(late, heard) -> None:
    project = late.project()
    closed = project.spec.schedule.closed.model_copy(update={"dates": (DAYS[2],)})
    schedule = project.spec.schedule.model_copy(update={"closed": closed})
    project = type(project)(
        spec=project.spec.model_copy(update={"schedule": schedule}),
        folder=project.folder, root=project.root, environment=project.environment,
    )  # fmt: skip
    done = ingest(project, late.lake, DAYS[0], DAYS[4])
    assert [day.score_date for day in done] == [day for day in DAYS if day != DAYS[2]]
    assert "2024-01-03 is closed (a date in schedule.closed), yet the raw files hold 10 rows of it" in heard.text
    taken = take_snapshot(project, late.lake, date(2024, 1, 7))
    assert (taken.train_from, taken.holdout_to) == (DAYS[1], DAYS[4])
    assert taken.rows == {"train": 9, "validation": 9, "holdout": 8}  # one label of the last day comes too late
