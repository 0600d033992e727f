"""`tally validate | explain | schema`: checks and explains specs without a run."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from tallywright.cli.console import show_rows, to_json
from tallywright.cli.data_report import looked_at, not_looked_at, show_data
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
from tallywright.errors import SpecError, SpecProblem, TallyError, UsageError
from tallywright.interruption import raise_if_stopped
from tallywright.lifecycle.plan import Pipeline, plan
from tallywright.lifecycle.project_checks import champion_problems, network_problems
from tallywright.lifecycle.retention import retention_problems
from tallywright.observability import log
from tallywright.spec import Environment, Project, model_names
from tallywright.spec.load import (
    Overlay,
    checked,
    misnamed_folders,
    model_file,
    overlay_file,
    project_root,
    read_overlay,
    split_sets,
)
from tallywright.spec.model import json_schema
from tallywright.spec.problems import problems_of, told
from tallywright.spec.rollout import LEAST_DAYS
from tallywright.spec.sections import CHALLENGER
from tallywright.spec.yaml_files import merged, read_mapping

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tallywright.reporting.evidence_plan import EvidencePlan
    from tallywright.spec.model import ModelSpec

# As texts: of an enumeration, click offers the names (SCORE) and not the values.
_PIPELINES: Final = [pipeline.value for pipeline in Pipeline]


@click.command()
@click.argument("models", nargs=-1)
@click.option("--env", "environment", type=NAME, help="Overlay in conf/.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one value of the spec.")
@click.option("--root", type=FOLDER, help="The project's folder.")
@click.option("--network", is_flag=True, help="Also make the networks, and try them on made-up rows: runs their code.")
@click.option("--data", "with_data", is_flag=True, help="Also read a sample of the raw files, and run the SQL over it.")
@json_option
def validate(  # noqa: PLR0913 - each a switch of the command
    models: tuple[str, ...],
    environment: str | None,
    overrides: tuple[str, ...],
    root: Path | None,
    *,
    network: bool,
    with_data: bool,
    as_json: bool,
) -> None:
    """Check specs (all, or the MODELS named); prints every problem at once."""
    base = project_root(root)
    for_overlay, for_spec = split_sets(overrides)
    merged({}, {}, for_spec)  # a `--set` that is none is no model's mistake
    overlay, settings, shared = _judged_overlay(base, environment, for_overlay)
    names = models or tuple(model_names(base))
    files = [model_file(base, name) for name in names]
    rows = [_judged_model(file, overlay, settings, for_spec, network=network, data=with_data) for file in files]
    if shared:
        rows.insert(0, _row({"model": None, "overlay": str(overlay.file.relative_to(base))}, shared))
    for folder in () if models else misnamed_folders(base):
        click.echo(f"hint: models/{folder} is left alone, as no model can have that name", err=True)
    if as_json:
        click.echo(to_json(rows))
    else:
        for row in rows:
            click.echo(f"{row['model'] or row['overlay']}: {'valid' if row['valid'] else 'not valid'}")
            for problem in row["problems"]:
                click.echo(f"  {problem}", err=True)
            for hint in row["hints"]:
                click.echo(f"hint: {hint}", err=True)
            if "data" in row:
                show_data(row["model"], row["data"])
    if not all(row["valid"] for row in rows):
        sys.exit(min(row.get("exit_code") or SpecError.exit_code for row in rows if not row["valid"]))


Row = dict[str, Any]


def _row(about: Row, problems: Sequence[SpecProblem], hints: Sequence[str] = ()) -> Row:
    """What is said of a model or an overlay: each problem as a text, and by its parts for programs; what is no problem.

    Args:
        about: Which one.
        problems: What makes it not valid.
        hints: What could not be checked.
    """
    return {
        **about,
        "valid": not problems,
        "problems": [str(problem) for problem in problems],
        "details": [asdict(problem) for problem in problems],
        "hints": [*hints],
    }


def _judged_overlay(
    base: Path, environment: str | None, sets: Sequence[str]
) -> tuple[Overlay, Environment | None, list[SpecProblem]]:
    """The overlay, its environment where it is valid, and its problems, which are no model's."""
    file = overlay_file(base, environment)
    try:
        overlay = read_overlay(base, environment)
    except SpecError as error:
        return Overlay(base, file, {}), None, problems_of(error, file)
    try:
        settings, problems = overlay.environment(sets)
    except UsageError as error:
        return overlay, None, problems_of(error, file)
    return overlay, settings, [*problems, *overlay.strangers()]


def _judged_model(
    file: Path, overlay: Overlay, settings: Environment | None, sets: Sequence[str], *, network: bool, data: bool
) -> Row:
    """The row of a model; whatever goes wrong with it stays there."""
    about: Row = {"model": file.parent.name}
    hints: list[str] = []
    try:
        spec, problems = checked(file, read_mapping(file, conf=False), overlay, settings, sets)
        if spec is not None and not problems:
            project = Project(spec, file.parent, overlay.root, settings or Environment(name=overlay.file.stem))
            texts = [*_missing_files(project), *_suite_problems(project)]
            texts += network_problems(project, run=network)
            texts += retention_problems(spec)
            texts += champion_problems(project) if settings is not None else []
            errors: Sequence[TallyError] = []
            hints = [*_unchecked(project), *_weak_evidence(spec)]
            if data:
                report = looked_at(project)
                about |= {"data": report.as_dict(), "exit_code": _exit_code(texts, report.errors)}
                errors = report.errors
            else:
                texts += _sql_problems(project)
                errors = _leading_outside(project)
            problems = [told(text, file, (project.root, project.folder)) for text in texts]
            problems += [problem for error in errors for problem in _problems_of(error, project, file)]
    except Exception as error:  # noqa: BLE001 - one model takes the row of no other
        raise_if_stopped()
        log.debug("checking %s", file, exc_info=True)
        problems = problems_of(error, file)
    if data and "data" not in about:
        about["data"] = not_looked_at()
    return _row(about, problems, hints)


def _exit_code(problems: Sequence[str], errors: Sequence[TallyError]) -> int:
    """That of the spec where it has a problem; else the smallest of the data's, 0 where they have none."""
    return min([error.exit_code for error in errors] + [SpecError.exit_code] * bool(problems), default=0)


def _missing_files(project: Project) -> list[str]:
    data = project.spec.data
    wanted = [
        *(project.folder / name for name in (data.contract, data.features, data.labels)),
        *(project.folder / name for name in project.spec.training.files),
        project.expectations,
    ]
    return [f"{path.relative_to(project.root)}: no such file, though the spec names it" for path in wanted
            if not path.is_file()]  # fmt: skip


def _problems_of(error: TallyError, project: Project, file: Path) -> list[SpecProblem]:
    """The problems of an error, each blamed on the key or on the file that it names."""
    found = problems_of(error, file)
    return [one if one.path else told(one.text, file, (project.root, project.folder)) for one in found]


def _leading_outside(project: Project) -> Sequence[TallyError]:
    """The sources with a file that leads out of the project; folders are listed, and no file is opened."""
    from tallywright.data.etl.sources import leading_outside

    return leading_outside(project)


def _suite_problems(project: Project) -> list[str]:
    """What is wrong with the suite; a missing one is named among the files."""
    from tallywright.gates.suite import problems_of_project

    return problems_of_project(project)


def _sql_problems(project: Project) -> list[str]:
    from tallywright.data.trial.planned import sql_problems

    return sql_problems(project)


def _unchecked(project: Project) -> list[str]:
    """Says what of a project can be known without data and is not: no Spark is started to plan its queries."""
    spec = project.spec
    if spec.data.engine == "duckdb":
        return []
    told = (
        f"{spec.name}: data.engine is {spec.data.engine}, so its queries are not planned: their columns and types are "
    )
    return [f"{told}first checked by `tally ingest {spec.name} --date D`"]


def _weak_evidence(spec: ModelSpec) -> Iterator[str]:
    """Says where the gates would have less evidence than whoever wrote the spec may think."""
    if CHALLENGER in spec.scoring.shadow and not spec.planned_shadow_days and spec.gates.mode == "superiority":
        yield (
            f"{spec.name}: an undecided version scores in shadow, and is never judged again: gates.shadow_days is 0, "
            "and its try has spent its level on the holdout"
        )
    training = spec.training
    units = training.holdout_periods if training.holdout_periods and not spec.is_hourly else training.holdout_days
    if spec.gates.floors and units is not None and units < LEAST_DAYS:
        yield (
            f"{spec.name}: a holdout of {units} has no interval, so gates.floors are held against the figures alone: "
            f"{LEAST_DAYS} or more have one (training.holdout_days, training.holdout_periods)"
        )


@click.command()
@project_options
@typed_range_options
@click.argument("named", metavar="[PIPELINE]", type=click.Choice(_PIPELINES), required=False)
@click.option("--pipeline", type=click.Choice(_PIPELINES), help="The same as PIPELINE; score without it.")
@json_option
def explain(project: Project, first: str, last: str, named: str | None, pipeline: str | None, *, as_json: bool) -> None:
    """Print the steps of a run (of the PIPELINE score, if none is named); changes nothing.

    For scoring also which model each date would get and why, for training what a candidate would have to show.
    """
    if named and pipeline and named != pipeline:
        raise UsageError(f"two pipelines were named, {named} and {pipeline}", expected="one of them")
    pipeline = named or pipeline or Pipeline.SCORE.value
    from tallywright.reporting.evidence_plan import evidence_plan
    from tallywright.reporting.preview import preview

    steps = [
        {"step": step.name, "does": step.help, "after": ", ".join(step.needs), "writes": ", ".join(step.produces),
         "retries": step.retries, "timeout": str(step.timeout)}
        for step in plan(project.spec, pipeline, project.environment)
    ]  # fmt: skip
    days = []
    if Pipeline(pipeline).is_about_periods:
        low, high = ends_of(project, first)[0], ends_of(project, last)[1]
        require_order(low, high)
        days = [row.as_dict() for row in preview(project, low, high)] if pipeline == Pipeline.SCORE else []
    else:
        require_order(parse_date(first), parse_date(last))
    evidence = evidence_plan(project, parse_date(last)) if pipeline == Pipeline.TRAIN else None
    if as_json:
        told = {"model": project.spec.name, "pipeline": pipeline, "steps": steps, "days": days}
        click.echo(to_json(told | ({} if evidence is None else {"evidence": evidence.as_dict()})))
        return
    show_rows(steps, as_json=False, title=f"{project.spec.name}: pipeline {pipeline}")
    if days:
        click.echo()
        show_rows(days, as_json=False, title="what would be done")
    if evidence is not None:
        click.echo()
        _show_evidence(evidence)


def _show_evidence(plan: EvidencePlan) -> None:
    """Prints what the next candidate has to show, and how many days would show which gain."""
    level = f"{plan.level:.3g}" if plan.level else f"spent until {plan.next_date}"
    click.echo(f"a promotion by {plan.mode}: level of the next try {level}, {plan.tries} tries of 365 days spent "
               f"{plan.level_spent:.3g}; evidence from {plan.holdout} days of holdout and {plan.shadow_days} planned "
               "in shadow")  # fmt: skip
    if not plan.days:
        click.echo("how many days would show a gain is known once a candidate was compared with a champion")
        return
    unit = f", {plan.unit}" if plan.unit else ""
    rows = [{f"gain in {plan.metric}{unit}": gain, "days that show it in half of all cases": days or "over ten years"}
            for gain, days in plan.days.items()]  # fmt: skip
    show_rows(rows, as_json=False, title=f"by the noise that was measured as of {plan.measured}")


@click.command()
def schema() -> None:
    """Print the JSON schema of model.yaml, for editors."""
    click.echo(json.dumps(json_schema(), indent=2))
