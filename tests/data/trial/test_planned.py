"""`tally validate` plans the queries against the spec: file, line and nearest match, without opening a data file."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallywright.data.etl import sources
from tallywright.data.trial.planned import sql_problems
from tallywright.spec import load_project

FILES = ("contract", "features", "labels")


@pytest.fixture
def unread(monkeypatch):
    """No data file may be opened."""

    def opened(*_, **__):
        raise AssertionError("a data file was opened")

    for name in ("read_sources", "locate", "stage"):
        monkeypatch.setattr(sources, name, opened)


@pytest.mark.usefixtures("unread")
def test_projects_that_work_have_no_problems(shop, repository):
    project = shop.project()
    (project.folder / "orders.csv").unlink()
    assert sql_problems(project) == []
    assert sql_problems(load_project("flight_delays", root=repository)) == []


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        ("features", ":to_date", ":todate", "features.sql line 3: unknown parameter :todate (did you mean ':to"),
        ("features", "amount\n", "amuont\n", "features.sql line 2: no column amuont (did you mean 'amount'?)"),
        ("contract", "o.amount IS", "o.amuont IS", "contract.sql line 4: no column amuont (did you mean 'amount'?)"),
        ("features", "kind,", "kind, colour,", "features.sql line 2: no column colour"),
        ("features", "FROM accepted", "FROM acepted", "features.sql line 3: no source acepted (did you mean 'acc"),
        ("contract", "FROM orders o", "FROM oders o", "contract.sql line 6: no source oders (did you mean 'orders'?)"),
        ("features", "kind, amount", "kind, random() AS amount", "features.sql line 2: random() gives another"),
        ("features", "kind, amount", "kind, 1 AS amount", "features.sql: column amount is INTEGER, expected DOUBLE"),
        ("features", "kind, amount", "kind", "features.sql: missing column amount"),
        ("features", "kind, amount", "kind, 2.0 AS more, amount", "features.sql: unknown column more"),
        ("features", "kind, amount", "kind, halve(amount) AS amount", "features.sql line 2: Catalog Error"),
        ("features", "kind, amount", "kind,, amount", "features.sql: Parser Error"),
        ("labels", "AS label_time", "AS label_tme", "labels.sql: missing column label_time; unknown column label_tme"),
        ("labels", "FROM accepted", "FROM accepted; SELECT 1 FROM x", "labels.sql: more than one statement"),
        ("contract", "AS reject_reason", "AS reason", "contract.sql: missing column reject_reason"),
        ("contract", "FROM orders o", "FROM orders o, read_text('x')", "read_text() reads something else"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(shop, file, old, new, problem):
    text = getattr(shop, file)
    assert old in text
    setattr(shop, file, text.replace(old, new, 1))
    found = sql_problems(shop.project())
    assert any(problem in one for one in found), found


def test_mistakes_of_all_files_are_told_at_once(shop):
    shop.contract = shop.contract.replace("BETWEEN :lookback_date AND :to_date", "BETWEEN :lookback_date AND :todate")
    shop.features = shop.features.replace("amount\n", "random() AS amount\n")
    shop.labels = shop.labels.replace("FROM accepted", "FROM accepted; SELECT 1 FROM accepted")
    found = sql_problems(shop.project())
    assert [next(name for name in FILES if name in one) for one in found] == [*FILES]


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        ("features", ":to_date", ":todate", "features.sql line 3: unknown parameter :todate (did you mean ':to_date'"),
        ("features", "kind, amount", "kind, RAND() AS amount", "features.sql line 2: rand() gives another value each"),
        ("features", "kind, amount", "kind, current_date AS amount", "line 2: current_date gives another value each"),
        ("features", "FROM accepted", "FROM acepted", "features.sql: no source acepted (did you mean 'accepted'?)"),
        ("contract", "FROM orders o", "FROM accepted o", "contract.sql: no source accepted; there are orders"),
        ("labels", "FROM accepted", "FROM accepted; SELECT 1 FROM x", "labels.sql: more than one statement"),
        ("labels", "SELECT", "DROP TABLE orders; SELECT", "labels.sql: more than one statement"),
    ],
)  # fmt: skip
def test_a_text_for_spark_is_looked_at_without_one(shop, file, old, new, problem):
    shop.data = {"engine": "spark"}
    assert sql_problems(shop.project()) == []
    text = getattr(shop, file)
    assert old in text
    setattr(shop, file, text.replace(old, new, 1))
    found = sql_problems(shop.project())
    assert any(problem in one for one in found), found


@pytest.mark.parametrize(
    "text",
    [
        "SELECT id FROM accepted LATERAL VIEW explode(array(1)) x AS n",
        "SELECT id, unix_timestamp(known_at) AS n FROM accepted DISTRIBUTE BY id",
        "SELECT `id` FROM accepted WHERE kind = 'it\\'s; DROP TABLE x'",
        "WITH A AS (SELECT * FROM Accepted), b AS (WITH c AS (SELECT 1 AS x) SELECT x FROM c) SELECT * FROM a, b",
        "SELECT current_date FROM (SELECT day AS current_date, unix_timestamp(known_at) AS n FROM accepted)",
    ],
)
def test_what_spark_alone_can_read_is_left_to_it(shop, text):
    shop.data, shop.features = {"engine": "spark"}, text
    assert sql_problems(shop.project()) == []


def test_what_cannot_be_known_is_no_problem(shop):
    """Columns without a declared type, of text and of Parquet files, and stars over them."""
    shop.contract = shop.contract.replace("o.id,", "o.id, o.colour, upper(o.colour) AS loud,")
    shop.features = shop.features.replace("kind, amount", "colour AS kind, amount")
    assert sql_problems(shop.project()) == []
    shop.contract = shop.contract.replace("o.id, o.colour,", "o.*,").replace(
        "o.kind, o.amount, o.outcome, o.known_at", "1 AS x"
    )
    assert sql_problems(shop.project()) == []
    shop.data = {"sources": {"orders": {"path": "orders.parquet", "format": "parquet"}}}
    assert sql_problems(shop.project()) == []


def test_columns_that_are_known_leave_nothing_open(shop):
    shop.contract = shop.contract.replace("o.id,", "o.id, o.colour,")
    columns = dict.fromkeys(["id", "day", "kind", "outcome", "known_at"], "VARCHAR") | {"amount": "DOUBLE"}
    (problem,) = sql_problems(shop.project(), {"orders": columns})
    assert "contract.sql line 5: no column colour" in problem


@settings(
    max_examples=settings.default.max_examples // 2,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_no_text_raises(shop, data):
    """Any piece of any query exchanged for another: problems or none, and no exception."""
    name = data.draw(st.sampled_from(FILES))
    words = getattr(shop, name).split(" ")
    place = data.draw(st.integers(0, len(words) - 1))
    others = ["", ")", "(", "'", "$$", ":x", "*", "SELECT", "FROM", "random()", "[1]", "NULL", "\0", "é"]
    words[place] = data.draw(st.sampled_from([*words, *others]))
    found = sql_problems(replace(shop, **{name: " ".join(words)}).project())
    assert all(isinstance(one, str) and one for one in found)


def test_what_is_computed_while_it_is_planned_has_an_end_too(shop, monkeypatch):
    monkeypatch.setattr("tallywright.data.embedded_sql._STOPS_WITHIN", 0.1)
    shop.data = {"sql_minutes": 0.005}
    shop.labels = shop.labels.replace(";", " LIMIT levenshtein(repeat('a', 40000), repeat('b', 40000))")
    (problem,) = sql_problems(shop.project())
    assert problem.startswith("planning shop's queries: the query has not ended after 0.005 minutes")
