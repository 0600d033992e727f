"""`tally history`: lists the promotion log, verifies it, and prints its head to keep elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tallywright.cli.console import show_record, show_rows, to_json
from tallywright.cli.options import DATE, json_option, project_options
from tallywright.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from datetime import date

    from tallywright.records import Promotion
    from tallywright.registry.log_head import Expected
    from tallywright.registry.promotion_log import PromotionLog
    from tallywright.spec import Project

_FILE = click.Path(path_type=Path, dir_okay=False)
_LEFT_OUT = frozenset({"decision_json", "answer_json", "stage_json", "model"})


@click.command()
@project_options
@click.option(
    "--on",
    "day",
    type=DATE,
    help="Who was champion on this date, who was tried beside it, and all that stands behind both.",
)
@click.option("--verify", is_flag=True, help="Find entries that were changed, removed, moved or put in; exit 15.")
@click.option("--expect", metavar="HEAD", help="Verify, and compare with a head that was kept, as --head shows it.")
@click.option("--head-file", type=_FILE, help="Verify, and compare with what --head --json printed.")
@click.option("--head", is_flag=True, help="Print the head of the log, to keep elsewhere.")
@click.option("--key", type=_FILE, help="With --head: sign it with this private key of registry.approver_keys.")
@json_option
def history(project: Project, day: date | None, *, as_json: bool, **given: Any) -> None:
    """The promotion log: every champion, stage and answer, effective from when, recorded when, by whom and why.

    With --on D: the champion of that date, who approved it, what it was trained on, what its gates said, and the scores
    that it made.

    Where versions are trained in an environment of their own, it is production's, with production's numbers.
    """
    from tallywright.data.delta.lake import Lake
    from tallywright.registry.promotion_log import PromotionLog

    verifies = given["verify"] or given["expect"] is not None or given["head_file"] is not None
    _require_one(day=day is not None, verify=verifies, head=given["head"])
    if given["key"] is not None and not given["head"]:
        raise UsageError("--key signs a head", expected="--head with it")
    here, place = project.environment, project.environment.in_production
    log = PromotionLog(Lake.of(place), project.spec)
    if place is not here and here.registries.other is not None:
        click.echo(f"the log and its version numbers are those of {here.registries.other.name}", err=True)
    if given["head"]:
        _show_head(project, log, given["key"], as_json=as_json)
    elif verifies:
        _verify(project, log, _expected(project, given["expect"], given["head_file"]), as_json=as_json)
    else:
        _list(project, log, day, as_json=as_json)


def _require_one(**asked: bool) -> None:
    found = [f"--{'on' if name == 'day' else name}" for name, given in asked.items() if given]
    if len(found) > 1:
        raise UsageError(f"{' and '.join(found)} were both given", expected="one of them")


def _list(project: Project, log: PromotionLog, day: date | None, *, as_json: bool) -> None:
    from tallywright.registry.promotion_log import champion_on
    from tallywright.registry.stages import stage_named, stage_on
    from tallywright.reporting.behind import behind

    stored = log.stored()
    on_day = [] if day is None else [champion_on(stored, day), stage_on(stored, day)]
    found = stored if day is None else [line for line in on_day if line is not None]
    rows = [line.model_dump(mode="json" if as_json else "python", exclude=set(_LEFT_OUT)) for line in found]
    if any(stage_named(line) for line in found):
        rows = [_with_stage(row, stage_named(line)) for row, line in zip(rows, found, strict=True)]
    for row in () if as_json else rows:
        row |= {name: row[name][:12] for name in ("package_digest", "digest", "evidence", "request")}
    # Of one date all that an auditor asks; a training environment has only the log, its scores are production's.
    known = [] if day is None or project.environment.in_production is not project.environment else found
    told = behind(project, known)
    if as_json:
        rows = [row | {"behind": about} for row, about in zip(rows, told, strict=True)] if told else rows
    show_rows(rows, as_json=as_json, empty=f"{project.spec.name} has no champion{f' on {day}' if day else ' yet'}")
    for line, about in () if as_json else zip(known, told, strict=True):
        click.echo()
        show_record(about, as_json=False, title=f"behind line {line.sequence}")
    for problem in log.problems():
        click.echo(f"the log was changed: {problem}; tally verify {project.spec.name} --repair", err=True)


def _with_stage(row: dict[str, Any], stage: str) -> dict[str, Any]:
    """The row with the stage that it begins beside its action."""
    return {"sequence": row["sequence"], "action": row["action"], "stage": stage or None} | row


def _show_head(project: Project, log: PromotionLog, key: Path | None, *, as_json: bool) -> None:
    from tallywright.registry.log_head import head_to_keep, signed_head

    entries = _not_empty(project, log.entries())
    head = head_to_keep(entries)
    if key is not None:
        head = signed_head(head, key, project.committed.registry.approver_keys)
    if as_json:
        click.echo(head.to_json())
        return
    signed = {"signed_by": head.signed_by, "signature": head.signature} if head.signature else {}
    show_record({"model": head.model, "head": head.short, "recorded_at": head.recorded_at} | signed, as_json=False)


def _not_empty(project: Project, entries: list[Promotion]) -> list[Promotion]:
    if entries:
        return entries
    name = project.spec.name
    raise UsageError(f"the promotion log of {name} has no entry yet", remedy=f"promote a version: tally promote {name}")


def _expected(project: Project, text: str | None, file: Path | None) -> Expected | None:
    from tallywright.registry.log_head import Expected, expected_head, read_head

    if text is not None and file is not None:
        raise UsageError("--expect and --head-file were both given", expected="one of them")
    if text is not None:
        return expected_head(text)
    if file is None:
        return None
    head = read_head(file, project.spec.name, project.committed.registry.approver_keys)
    signed = f"signed by {head.signed_by}" if head.signed_by else "not signed"
    click.echo(f"compared with the head {head.short[:17]}… of {head.recorded_at:%Y-%m-%d %H:%M:%S}, {signed}", err=True)
    return Expected(head.sequence, head.digest, head.lines)


def _verify(project: Project, log: PromotionLog, kept: Expected | None, *, as_json: bool) -> None:
    from tallywright.registry.log_head import difference
    from tallywright.registry.promotion_chain import chained_from, head_digest

    found, entries = log.problems(), log.readable()
    other = None if kept is None else difference(entries, kept)
    if other is not None and all(problem.line != other.line for problem in found):
        found.append(other)
    head = f"{entries[-1].sequence}:{head_digest(entries)}" if entries else None
    if as_json:
        told = [{"line": problem.line, "what": problem.what} for problem in found]
        first = chained_from(entries)
        click.echo(to_json({"model": project.spec.name, "entries": len(entries), "chained_from": first,
                            "head": head, "compared": kept is not None, "problems": told}))  # fmt: skip
    for problem in () if as_json else found:
        click.echo(str(problem))
    if found:
        sys.exit(IntegrityError.exit_code)
    if not as_json:
        compared = "; it holds all that the kept head says" if kept is not None else ""
        click.echo(f"{len(entries)} entries stand{compared}; head {head or 'none'}")
