"""The `tally` command: finds the subcommand, and turns expected failures into a message and an exit code."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Final

import click

from tallywright import __version__
from tallywright.errors import TallyError, UsageError
from tallywright.memory import limit_allocators
from tallywright.observability import configure_logging
from tallywright.redaction import without_credentials

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
    "promote": "registry_commands:promote",
    "rollback": "registry_commands:rollback",
    "withdraw": "version_commands:withdraw",
    "versions": "version_commands:versions",
    "compare": "version_commands:compare",
    "diff": "version_commands:diff",
    "history": "registry_commands:history",
    "days": "read_commands:days",
    "trace": "read_commands:trace",
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

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(importlib.import_module(f"tallywright.cli.{module}"), attribute)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tally")
@click.option("-v", "--verbose", is_flag=True, help="More log lines, and tracebacks for unexpected errors.")
def tally(*, verbose: bool) -> None:
    """Train, gate, score, watch and trace batch models, from one YAML file each."""
    configure_logging(verbose=verbose)


def main() -> None:
    """Runs `tally` and exits; 0 is success, the other codes are those of `tallywright.errors`."""
    limit_allocators()
    try:
        tally.main(standalone_mode=False)
    except TallyError as error:
        _print_error(error)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        if "--json" in sys.argv:
            click.echo(json.dumps({"error": _fields(UsageError(error.format_message()))}))
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except Exception as error:
        if "-v" in sys.argv or "--verbose" in sys.argv:
            raise
        text = without_credentials(f"unexpected {type(error).__name__}: {error}")
        click.echo(f"{text}\n  to do:    run `tally -v …` for the traceback", err=True)
        sys.exit(70)


def _fields(error: TallyError) -> dict[str, str | int | bool]:
    return {"type": type(error).__name__, "found": error.found, "expected": error.expected,
            "remedy": error.remedy, "exit_code": error.exit_code, "retryable": error.retryable}  # fmt: skip


def _print_error(error: TallyError) -> None:
    if "--json" in sys.argv:
        click.echo(json.dumps({"error": _fields(error)}))
    click.echo(f"error: {error}", err=True)
