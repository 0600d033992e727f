"""`tally airflow start | stop | status | cli`: a whole Airflow for this project, on this machine alone."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from tallywright.cli.console import to_json
from tallywright.cli.options import FOLDER, json_option
from tallywright.errors import UsageError
from tallywright.spec import model_names
from tallywright.spec.load import project_root

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tallywright.orchestration.embedded.processes import EmbeddedAirflow

ROOT = click.option("--root", type=FOLDER, help="The project's folder (default: found upwards).")
_ALL = "*"


@click.group()
def airflow() -> None:
    """Run the project's DAGs in an Airflow of its own: home in .tally/airflow, loopback only, one user."""


@airflow.command()
@ROOT
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the UI (default: the last one, or a free one).")
@click.option(
    "--unpause",
    is_flag=False,
    flag_value=_ALL,
    metavar="[MODEL]",
    help="Let the DAGs of all models (or of MODEL) run; new DAGs are paused.",
)
@json_option
def start(root: Path | None, port: int | None, unpause: str | None, *, as_json: bool) -> None:
    """Start what does not run, wait until every DAG is there, print address and login."""
    home = _airflow(root)
    if find_spec("airflow") is None:
        raise UsageError(
            f"Airflow is not installed in {sys.prefix}",
            expected="an environment with the extra airflow",
            remedy="install Tallywright with the extra airflow, as the tutorial says",
        )
    from tallywright.orchestration.embedded import project

    models = _models(home.root, unpause)
    if not as_json:
        runs = home.running() and not home.missing()
        click.echo("Airflow runs already" if runs else "starting Airflow (about 20 s) …", err=True)
    rest = project.start(home, port)
    unpaused = project.unpause(rest, models)
    _show(home, as_json=as_json, unpaused=unpaused)


@airflow.command()
@ROOT
@json_option
def stop(root: Path | None, *, as_json: bool) -> None:
    """Stop exactly the processes that `start` has started."""
    stopped = _airflow(root).stop()
    if as_json:
        click.echo(to_json({"stopped": stopped}))
    else:
        click.echo(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


@airflow.command()
@ROOT
@json_option
def status(root: Path | None, *, as_json: bool) -> None:
    """Say what runs, at which address, and how to sign in."""
    _show(_airflow(root), as_json=as_json)


@airflow.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def cli(arguments: Sequence[str]) -> None:
    """Run Airflow's own command line against this Airflow: tally airflow cli dags list."""
    home = _airflow(None)
    if not home.made:
        raise UsageError(
            f"there is no Airflow in {home.home} yet",
            expected="one that `tally airflow start` has made",
            remedy="run `tally airflow start` first",
        )
    done = home.airflow(*arguments)
    click.echo(done.stdout, nl=False)
    sys.exit(done.returncode)


def _airflow(root: Path | None) -> EmbeddedAirflow:
    from tallywright.orchestration.embedded.project import embedded

    return embedded(project_root(root), paused=True)


def _models(root: Path, unpause: str | None) -> list[str]:
    """The models whose DAGs are to be unpaused."""
    known = model_names(root)
    if unpause is None:
        return []
    if unpause != _ALL and unpause not in known:
        raise UsageError(f"no model {unpause!r}", expected=f"one of {', '.join(known)}")
    return known if unpause == _ALL else [unpause]


def _show(home: EmbeddedAirflow, *, as_json: bool, unpaused: Sequence[str] = ()) -> None:
    from tallywright.orchestration.embedded.processes import USER
    from tallywright.orchestration.embedded.project import banner

    running, missing = [process.name for process in home.running()], home.missing()
    if as_json:
        login: dict[str, Any] = {"address": home.address, "user": USER, "password": home.password} if running else {}
        click.echo(to_json({"running": running, "missing": missing, **login, "unpaused": list(unpaused)}))
        return
    if not running:
        click.echo("not running")
        return
    click.echo(banner(home))
    click.echo(
        f"running     {', '.join(running)}" + (f"; {', '.join(missing)} stopped: start again" if missing else "")
    )
    click.echo(f"home        {home.home}")
    if unpaused:
        click.echo(f"unpaused    {', '.join(unpaused)}")
