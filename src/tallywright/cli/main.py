"""The `tally` command: finds the subcommand, and turns expected failures into a message and an exit code.

A shell hands over any bytes: arguments that are no UTF-8 are refused for every command.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import traceback
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import click

from tallywright import __version__
from tallywright.cli.console import error_fields
from tallywright.cli.streams import ReaderGone, standard_streams
from tallywright.errors import StorageError, TallyError, UsageError, did_you_mean
from tallywright.interruption import answer_signals, exit_stopped, exit_with, received
from tallywright.memory import limit_allocators
from tallywright.observability import configure_logging
from tallywright.redaction import without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator

# Name -> module and attribute: a command's imports are paid for by that command alone.
COMMANDS: Final = {
    "init": "init:init",
    "validate": "spec_commands:validate",
    "explain": "spec_commands:explain",
    "schema": "spec_commands:schema",
    "run": "run_commands:run",
    "ingest": "run_commands:ingest",
    "train": "run_commands:train",
    "score": "run_commands:score",
    "backfill": "run_commands:backfill",
    "maintain": "maintenance_commands:maintain",
    "verify": "maintenance_commands:verify",
    "adopt": "adoption_commands:adopt",
    "judge": "registry_commands:judge",
    "advance": "registry_commands:advance",
    "approve": "registry_commands:approve",
    "reject": "registry_commands:reject",
    "promote": "registry_commands:promote",
    "rollback": "registry_commands:rollback",
    "withdraw": "version_commands:withdraw",
    "versions": "version_commands:versions",
    "card": "card_command:card",
    "compare": "version_commands:compare",
    "diff": "version_commands:diff",
    "history": "history_command:history",
    "reproduce": "adoption_commands:reproduce",
    "package": "version_commands:package",
    "days": "read_commands:days",
    "trace": "trace_command:trace",
    "query": "read_commands:query",
    "report": "read_commands:report",
    "airflow": "airflow_command:airflow",
    "reset": "maintenance_commands:reset",
    "doctor": "doctor:doctor",
}


class _LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is asked for; of a name that is none, the nearest is told."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"No such command {args[0]!r}{did_you_mean(args[0], COMMANDS)}.")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        return _command(cmd_name) if cmd_name in COMMANDS else None


@cache
def _command(name: str) -> click.Command:
    """A command by its name, once a process, as its parser is ours."""
    module, attribute = COMMANDS[name].split(":")
    command: click.Command = getattr(importlib.import_module(f"tallywright.cli.{module}"), attribute)
    return _require_texts(command)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tally")
@click.option("-v", "--verbose", is_flag=True, help="More log lines, and tracebacks for unexpected errors.")
def tally(*, verbose: bool) -> None:
    """Train, gate, score, watch and trace batch models, from one YAML file each."""
    configure_logging(verbose=verbose)


def main() -> None:
    """Runs `tally`; exits with a code of `tallywright.errors` when it fails."""
    try:
        answer_signals()
        _run()
    except KeyboardInterrupt:
        exit_stopped()


def _run() -> None:
    limit_allocators()
    try:
        with standard_streams(as_json="--json" in sys.argv):
            code = _answered()
    except StorageError as error:  # standard output itself
        _tell(error)
        code = error.exit_code
    if code:
        exit_with(code)


def _answered() -> int:
    """Runs the command and returns its exit code; what failed is told, and to a reader who has gone nothing."""
    try:
        # Without colours click cuts out of a value what our streams write as an escape, or are to leave out.
        tally.main(standalone_mode=False, color=True)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        _print_json(UsageError(error.format_message()))
        return error.exit_code
    except click.Abort:
        exit_stopped()
    except ReaderGone:
        return 128 + signal.SIGPIPE
    except (TallyError, OSError) as error:
        _unless_stopped()
        if isinstance(error, TallyError):
            return _told(error)
        _show_traceback(error)
        return _told(_storage_error(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and has a code
        _unless_stopped()
        _show_traceback(error)
        text = without_credentials(f"unexpected {type(error).__name__}: {error}")
        click.echo(f"{text}\n  to do:    run `tally -v …` for the traceback", err=True)
        return 70
    return 0


def _unless_stopped() -> None:
    """Ends as a stopped command does, where a signal has come: foreign code turns it into errors of its own."""
    if received():
        exit_stopped()


def _show_traceback(error: Exception) -> None:
    """Where an error that is none of ours was raised, for `-v`; by ourselves, as the interpreter would show secrets."""
    if "-v" in sys.argv or "--verbose" in sys.argv:
        click.echo(without_credentials("".join(traceback.format_exception(error))), err=True, nl=False)


def _storage_error(error: OSError) -> StorageError:
    """A file that failed under our hands, wherever that was."""
    names = [repr(name) for name in (error.filename, error.filename2) if name is not None]
    what = " and ".join(names) or "a file or a connection"
    return StorageError(
        f"{what} cannot be used: {error.strerror or error}",
        expected="files and folders of this machine that can be read and written",
        remedy="look at the path, its permissions and the free space; `tally -v …` shows where it was used",
    )


def _told(error: TallyError) -> int:
    _tell(error)
    _print_json(error)
    return error.exit_code


def _print_json(error: TallyError) -> None:
    """The error for a program that asked for JSON; where nobody takes it, the exit code still tells of it."""
    if "--json" in sys.argv:
        with suppress(ReaderGone, StorageError):
            click.echo(json.dumps({"error": error_fields(error)}))


def _tell(error: TallyError) -> None:
    click.echo(f"error: {error}", err=True)


def _require_texts(command: click.Command) -> click.Command:
    """The command, which refuses arguments that are not UTF-8 before it does anything, and names them."""
    parse = command.parse_args

    def parsed(ctx: click.Context, args: list[str]) -> list[str]:
        if any(map(_wrong_byte, args)):
            name, byte = _first_wrong(command, ctx, args)
            raise UsageError(
                f"{name} is not UTF-8 {byte}",
                expected="a text in UTF-8",
                remedy="check the encoding of the terminal or of the script",
            )
        return parse(ctx, args)

    command.parse_args = parsed  # type: ignore[method-assign] # of this process's one instance
    return command


def _wrong_byte(text: str) -> str:
    """The first byte that is no UTF-8, and where; empty when all are."""
    try:
        os.fsencode(text).decode("utf-8")
    except UnicodeDecodeError as error:
        return f"(byte 0x{error.object[error.start]:02x} at {error.start})"
    return ""


def _first_wrong(command: click.Command, ctx: click.Context, args: list[str]) -> tuple[str, str]:
    """The parameter that was given no text, as the help calls it, and the byte in its value."""
    try:
        found, _, _ = command.make_parser(ctx).parse_args(args=list(args))
    except click.ClickException:
        found = {}
    for parameter in command.params:
        name = parameter.opts[-1] if isinstance(parameter, click.Option) else parameter.human_readable_name
        for value in _texts(found.get(parameter.name)):
            if byte := _wrong_byte(value):
                return name, byte
    place = next(place for place, text in enumerate(args) if _wrong_byte(text))
    before = args[place - 1] if place else ""
    return before if before.startswith("-") else "an argument", _wrong_byte(args[place])


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, str):
        yield value
