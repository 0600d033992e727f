"""`tally validate | explain | schema`: checks and explains specs without a run."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Final

import click

from tallywright.cli.console import show_rows, to_json
from tallywright.cli.options import (
    FOLDER,
    NAME,
    ends_of,
    json_option,
    parse_date,
    project_options,
    require_order,
    typed_range_options,
)
from tallywright.errors import SpecError
from tallywright.lifecycle.champion_check import champion_problems
from tallywright.lifecycle.network_check import network_problems
from tallywright.lifecycle.plan import Pipeline, plan
from tallywright.lifecycle.retention import retention_problems
from tallywright.spec import Project, load_project, model_names
from tallywright.spec.schema import json_schema

if TYPE_CHECKING:
    from pathlib import Path

# As texts: of an enumeration, click offers the names (SCORE) and not the values.
_PIPELINES: Final = [pipeline.value for pipeline in Pipeline]


@click.command()
@click.argument("models", nargs=-1)
@click.option("--env", "environment", type=NAME, help="Overlay in conf/.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one value of the spec.")
@click.option("--root", type=FOLDER, help="The project's folder.")
@click.option("--network", is_flag=True, help="Also make the networks, and try them on made-up rows: runs their code.")
@json_option
def validate(
    models: tuple[str, ...],
    environment: str | None,
    overrides: tuple[str, ...],
    root: Path | None,
    *,
    network: bool,
    as_json: bool,
) -> None:
    """Check specs (all, or the MODELS named); prints every problem at once."""
    rows: list[dict[str, object]] = []
    for name in models or tuple(model_names(root)):
        try:
            project = load_project(name, root=root, environment=environment, overrides=overrides)
            problems = [
                *_missing_files(project),
                *network_problems(project, run=network),
                *retention_problems(project.spec),
                *champion_problems(project),
            ]
            rows.append({"model": name, "valid": True, "problems": problems})
        except SpecError as error:
            rows.append({"model": name, "valid": False, "problems": [str(error)]})
    for row in rows:
        row["valid"] = row["valid"] and not row["problems"]
    if as_json:
        click.echo(to_json(rows))
    else:
        for row in rows:
            click.echo(f"{row['model']}: {'valid' if row['valid'] else 'not valid'}")
            for problem in row["problems"]:  # type: ignore[attr-defined]
                click.echo(f"  {problem}", err=True)
    if not all(row["valid"] for row in rows):
        sys.exit(SpecError.exit_code)


def _missing_files(project: Project) -> list[str]:
    data = project.spec.data
    wanted = [
        *(project.folder / name for name in (data.contract, data.features, data.labels)),
        project.folder / project.spec.training.network.module,
        project.expectations,
    ]
    return [f"{path.relative_to(project.root)}: no such file, though the spec names it" for path in wanted
            if not path.is_file()]  # fmt: skip


@click.command()
@project_options
@typed_range_options
@click.option("--pipeline", type=click.Choice(_PIPELINES), default=Pipeline.SCORE.value, show_default=True)
@json_option
def explain(project: Project, first: str, last: str, pipeline: str, *, as_json: bool) -> None:
    """Print the steps of a run, and for scoring which model each date would get and why; changes nothing."""
    from tallywright.reporting.preview import preview

    steps = [
        {"step": step.name, "does": step.help, "after": ", ".join(step.needs), "writes": ", ".join(step.produces),
         "retries": step.retries, "timeout": str(step.timeout)}
        for step in plan(project.spec, pipeline)
    ]  # fmt: skip
    days = []
    if Pipeline(pipeline).is_about_periods:
        low, high = ends_of(project, first)[0], ends_of(project, last)[1]
        require_order(low, high)
        days = [row.as_dict() for row in preview(project, low, high)] if pipeline == Pipeline.SCORE else []
    else:
        require_order(parse_date(first), parse_date(last))
    if as_json:
        click.echo(to_json({"model": project.spec.name, "pipeline": pipeline, "steps": steps, "days": days}))
        return
    show_rows(steps, as_json=False, title=f"{project.spec.name}: pipeline {pipeline}")
    if days:
        click.echo()
        show_rows(days, as_json=False, title="what would be done")


@click.command()
def schema() -> None:
    """Print the JSON schema of model.yaml, for editors."""
    click.echo(json.dumps(json_schema(), indent=2))
