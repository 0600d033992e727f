"""`tally verify`: says whether everything that is stored of a model is what was committed, and repairs what is not."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from tallywright.cli.console import to_json
from tallywright.cli.options import DATE, context_for, json_option, new_run_id, project_options, require_order
from tallywright.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from datetime import date

    from tallywright.spec import Project


@click.command()
@project_options
@click.option("--from", "first", type=DATE, help="The first date.")
@click.option("--to", "last", type=DATE, help="The last date, inclusive.")
@click.option("--deep", is_flag=True, help="Compare contents too, and take packages from the registry.")
@click.option("--repair", is_flag=True, help="First bring back what the log names and make records again.")
@click.option("--accept", is_flag=True, help="First take all tables as they are for what was committed.")
@json_option
def verify(  # noqa: PLR0913 - a command has many options
    project: Project,
    first: date | None,
    last: date | None,
    *,
    deep: bool,
    repair: bool,
    accept: bool,
    as_json: bool,
) -> None:
    """Check inputs, labels, scores, records, promotions and packages; exit 15 with a line for each that is damaged."""
    from tallywright.lifecycle.verify.model import verify_model
    from tallywright.lifecycle.verify.repair import accept_model, repair_model
    from tallywright.registry.promotion_chain import chained_from
    from tallywright.registry.promotion_log import PromotionLog

    require_order(first, last)
    if repair and accept:
        raise UsageError("--repair and --accept were both given", expected="one of them")
    context = context_for(project, project.spec.schedule.start_date, new_run_id("verify"))
    if repair or accept:
        (repair_model if repair else accept_model)(context)
    found = verify_model(project, context.lake, now=datetime.now(UTC), days=(first, last), deep=deep)
    if as_json:
        click.echo(to_json([one.model_dump(mode="json") for one in found]))
    for one in () if as_json else found:
        day = f" {one.score_date}" if one.score_date else ""
        click.echo(f"{one.what}{day}: {one.problem}; to do: {one.remedy}")
    if found:
        sys.exit(IntegrityError.exit_code)
    if not as_json:
        chained = chained_from(PromotionLog(context.lake, project.spec).stored())
        told = f"chained from {chained}" if chained else "none is chained yet"
        click.echo(f"all of {project.spec.name} stands; promotions: {told}")
