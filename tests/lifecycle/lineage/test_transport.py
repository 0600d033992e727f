"""Where events go, and that nothing about them fails a step, or is loaded where nobody asked for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
from lineage_server import configure
from ports import free_port
from pydantic import ValidationError
from synthetic import DAY

from tallywright.errors import SpecError
from tallywright.spec.environment import LineageSettings

ONCE = "lineage events are not sent"


@pytest.mark.usefixtures("client")
def test_a_file_has_an_event_a_line(day) -> None:
    configure(day, transport="file", file="told/lineage.jsonl")
    day.step("ingest")
    lines = (day.root / "told/lineage.jsonl").read_text().splitlines()
    assert [json.loads(line)["eventType"] for line in lines] == ["START", "COMPLETE"]


@pytest.mark.usefixtures("client")
def test_a_server_that_is_away_is_said_once_and_holds_nobody_up(day, heard) -> None:
    configure(day, transport="http", url=f"http://127.0.0.1:{free_port()}")
    begin = time.monotonic()
    assert day.step("ingest")["changed"]
    assert day.step("ingest")["rows"] == 60
    assert time.monotonic() - begin < 30
    assert [text for text in heard.messages if ONCE in text and "127.0.0.1" in text] == [
        text for text in heard.messages if ONCE in text
    ]
    assert sum(ONCE in text for text in heard.messages) == 1


@pytest.mark.usefixtures("client")
def test_after_a_failure_it_waits_before_it_tries_again(day, server, monkeypatch, heard) -> None:
    from tallywright.lifecycle.lineage import transport

    server.status = 503
    configure(day, transport="http", url=server.url, endpoint="other/path")
    day.step("ingest")
    assert server.asked == [("/other/path", "")]
    monkeypatch.setattr(transport, "_PAUSE_SECONDS", 0.0)
    transport.sender_of.cache_clear()
    server.status = 503
    day.step("ingest")
    server.status = 201
    day.step("ingest")
    assert len(server.asked) == 1 + 2 + 2
    assert sum(ONCE in text for text in heard.messages) == 2  # of two senders


@pytest.mark.usefixtures("client")
def test_a_file_that_cannot_be_written_fails_nothing(day, heard) -> None:
    (day.root / "told").write_text("no folder")
    configure(day, transport="file", file="told/lineage.jsonl")
    assert day.step("ingest")["changed"]
    assert sum(ONCE in text for text in heard.messages) == 1


def test_without_the_client_a_step_says_what_to_install(day, heard, monkeypatch) -> None:
    from tallywright.lifecycle.lineage.transport import sender_of

    sender_of.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "openlineage"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "openlineage", None)
    configure(day, transport="file", file="lineage.jsonl")
    assert day.step("ingest")["changed"]
    assert any("pip install 'tallywright[lineage]'" in text for text in heard.messages)
    assert not (day.root / "lineage.jsonl").exists()


def test_a_step_loads_nothing_of_it_where_no_transport_is_named(day) -> None:
    code = (
        "import sys; from click.testing import CliRunner; from tallywright.cli.run_commands import run\n"
        f"done = CliRunner().invoke(run, ['shop', 'ingest', '--date', '{DAY}', '--root', sys.argv[1]])\n"
        "assert done.exit_code == 0, done.output\n"
        "loaded = [name for name in sys.modules if name.partition('.')[0] == 'openlineage']\n"
        "ours = [name for name in sys.modules if name.startswith('tallywright.lifecycle.lineage.')]\n"
        "print(len(loaded), *sorted(name.rpartition('.')[2] for name in ours))"
    )
    # The client's own variables turn nothing on.
    told = {"OPENLINEAGE_URL": "http://127.0.0.1:9", "OPENLINEAGE__TRANSPORT__TYPE": "console"}
    done = subprocess.run([sys.executable, "-c", code, str(day.root)], capture_output=True, text=True,
                          env={**os.environ, **told}, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "0"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"transport": "http"}, "is no address of a server"),
        ({"transport": "http", "url": "marquez:5000"}, "is no address of a server"),
        ({"transport": "file"}, "empty"),
        ({"transport": "file", "file": "s3://bucket/x"}, "this is an address"),
        ({"transport": "kafka"}, "'none', 'file' or 'http'"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
    ],
)
def test_settings_that_name_no_target_are_refused(settings, told) -> None:
    with pytest.raises(ValidationError, match=told):
        LineageSettings.model_validate(settings)


def test_a_refused_setting_is_told_with_its_place(day) -> None:
    configure(day, transport="http")
    with pytest.raises(SpecError, match=r"lineage.*is no address of a server"):
        _ = day.project
