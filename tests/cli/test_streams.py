"""What is printed is text: no terminal obeys it, no reader has to stay to its end, no traceback tells secrets."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

HOSTILE = "\x1b[2J\x1b]0;title\x07\x9b31m\u202eback\rover\x7f\u2066"
COMMAND = """
import json, logging, sys, click, tallywright.cli.main as cli
from tallywright.cli.console import show_rows
from tallywright.errors import InputError
HOSTILE = json.loads(sys.argv.pop())
class Said(click.Command):
    def invoke(self, ctx):
        {}
cli._LazyGroup.get_command = lambda self, ctx, name: Said("x")
cli.main()
"""
PRINTED = """
        show_rows([{HOSTILE: HOSTILE}], as_json=False, title=HOSTILE)
        show_rows([{HOSTILE: HOSTILE}], as_json=False, own_names=True, whole=())
        click.echo(HOSTILE)
        logging.getLogger('tallywright').warning('%s', HOSTILE)
        print(HOSTILE, file=sys.stderr)
"""
WAYS = {
    "tables and lines": PRINTED,
    "an error": "raise InputError(HOSTILE, expected=HOSTILE, remedy=HOSTILE)",
    "a foreign error": "raise ValueError(HOSTILE)",
    "a file's name": "open(HOSTILE)",
    "a usage error": "raise click.UsageError(HOSTILE)",
}


def command(what: str, *arguments: str) -> list[str]:
    """A command that does one thing, in Python."""
    return [sys.executable, "-c", COMMAND.format(what), *arguments, "x", json.dumps(HOSTILE)]


def printed(line: list[str], **environment: str) -> str:
    """What a terminal gets of both streams."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(line, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | environment)
    os.close(theirs)
    found = b""
    try:
        while part := os.read(ours, 65536):
            found += part
    except OSError:  # how Linux says that nobody is at the other end any more
        pass
    os.close(ours)
    process.wait(timeout=60)
    return found.decode().replace("\r\n", "\n")


def acting(text: str) -> set[str]:
    own = text.replace("\x1b[1m", "").replace("\x1b[0m", "")
    return {letter for letter in own if letter in HOSTILE and not letter.isprintable()}


@pytest.mark.parametrize("way", WAYS)
def test_a_terminal_obeys_nothing_of_what_is_shown(way: str) -> None:
    told = printed(command(WAYS[way]))
    assert acting(told) == set()
    assert r"\u202eback" in told or r"\u202e" in told.replace("\n", "")


def test_a_terminal_in_ascii_obeys_nothing_either() -> None:
    told = printed(command(PRINTED), PYTHONIOENCODING="ascii")
    assert (acting(told), r"back\u000dover" in told) == (set(), True)


def test_json_keeps_the_value_and_no_terminal_obeys_it() -> None:
    done = subprocess.run(
        command("show_rows([{'a': HOSTILE}], as_json=True)"), capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [{"a": HOSTILE}]
    assert acting(done.stdout) == set()


@pytest.mark.parametrize(
    ("does", "code"),
    [
        ("click.echo('a line')", 141),
        ("[click.echo('a line') for _ in range(100_000)]", 141),
        ("show_rows([{'a': 1}], as_json=True)", 141),
        ("raise InputError('found')", 4),
    ],
)
def test_a_reader_who_goes_ends_a_command_in_silence(does: str, code: int) -> None:
    """As the shell's own commands do, by 128 and the number of SIGPIPE; a failure keeps its code."""
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(command(does), stdout=theirs, stderr=subprocess.PIPE, text=True, check=False)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (code, "" if code == 141 else "error: found\n")


@pytest.mark.parametrize(
    ("raised", "code"), [("ValueError('http://u:hunter2pw@h/')", 70), ("OSError(5, 'at http://u:hunter2pw@h/')", 11)]
)
def test_a_traceback_has_no_secrets_and_keeps_the_code(raised: str, code: int, tmp_path: Path) -> None:
    done = subprocess.run(
        command(f"raise RuntimeError('token=hunter2pw') from {raised}" if code == 70 else f"raise {raised}", "-v"),
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert "Traceback" in done.stderr
    assert "hunter2pw" not in done.stderr
