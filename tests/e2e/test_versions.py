"""Two versions of one model through the command line: the second undecided, scored in shadow, judged again, compared,
promoted, diffed, withdrawn."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.long]

PROMOTE = ("promote", "late_orders", "--version", "2", "--effective-from", "2025-04-06", "--by", "a test")
DAY = ("--date", "2025-04-06")


def test_a_second_version_is_judged_in_shadow_compared_promoted_and_withdrawn(copy) -> None:
    world = copy()
    world.tally("ingest", world.model, "--from", "2025-04-11", "--to", "2025-04-26")
    _undecided(world)
    _judged_in_shadow(world)
    _compared(world)
    world.tally(*PROMOTE, "--reason", "better")
    assert world.tally("score", world.model, *DAY, "--json").json[0]["action"] == "committed"
    _diffed(world)
    _withdrawn(world)
    _scored_by_another(world)
    _nobody_left(world)


def test_where_no_scored_day_is_new_to_both_the_newer_holdout_is_compared(copy) -> None:
    world = copy()
    without_refit = ("--set", "training.refit=false")
    world.tally("train", world.model, "--date", "2025-04-10", "--no-promote", "--by", "a test", *without_refit)
    second = world.tally("versions", world.model, "--json").json[-1]
    compared = world.tally("compare", world.model, "1", "2", "--json").json
    assert compared["source"] == "the holdout of version 2"
    (auc,) = [pair for pair in compared["metrics"] if pair["metric"] == "roc_auc"]
    assert auc["second"] == pytest.approx(second["metrics"]["roc_auc"])
    assert 0 < auc["lower"] < auc["gain"] < auc["upper"]
    assert compared["cautions"] == []


def _undecided(world) -> None:
    """The champion was fitted through 23 March: too few days are left to compare with it, and that is registered."""
    train = (
        "train",
        world.model,
        "--date",
        "2025-03-30",
        "--effective-from",
        "2025-04-06",
        "--reason",
        "more columns",
        "--by",
        "a test",
        "--run-id",
        "two",
    )
    world.edit(
        "models/late_orders/model.yaml", "gates:\n", "scoring: {shadow: [challenger]}\n\ngates:\n  shadow_days: 10\n"
    )
    done = world.tally(*train)
    assert "registered, not promoted: version 2 is undecided" in done.err
    (check,) = world.rows("select evidence from late_orders__gates where check_name = 'pair_days'")
    assert "the champion was fitted through 2025-03-23: the first as-of date with enough is" in check["evidence"]
    world.tally(*PROMOTE, code=8)
    assert [line["model_version"] for line in world.tally("history", world.model, "--json").json] == [1]


def _judged_in_shadow(world) -> None:
    scored = world.tally("backfill", world.model, "--from", "2025-04-08", "--to", "2025-04-20", "--json").json
    assert len(scored) == 13
    (shadow,) = world.rows("select count(distinct score_date) n, min(model_version) v from late_orders__shadow")
    assert shadow == {"n": 13, "v": 2}
    judge = ("judge", world.model, "--version", "2", "--date")
    early = world.tally(*judge, "2025-04-12", "--json").json
    assert (early["verdict"], early["undecided"]) == ("undecided", "pair_days")
    judged = world.tally(*judge, "2025-04-26", "--json").json
    assert judged["verdict"] == "passed", judged
    again = world.tally(*judge, "2025-04-26", "--json").json
    assert (again["action"], again["verdict"]) == ("none", "passed")

    first, second = world.tally("versions", world.model, "--json").json
    assert (first["version"], first["state"], first["champion"]) == (1, "passed", ["from 2025-04-01"])
    assert (second["version"], second["state"], second["champion"]) == (2, "passed", [])
    assert second["reason"] == "more columns"
    assert {"roc_auc", "log_loss"} <= second["metrics"].keys()
    assert second["run_id"]
    table = world.tally("versions", world.model).out
    assert "more columns" in table
    assert "operations" in table


def _compared(world) -> None:
    # Neither has seen the scored days after the labels that were final when the newer one was trained.
    compared = world.tally("compare", world.model, "1", "2", "--json").json
    assert compared["source"] == "scored days with mature labels that neither version has seen"
    (auc,) = [pair for pair in compared["metrics"] if pair["metric"] == "roc_auc"]
    assert auc["lower"] < auc["gain"] < auc["upper"]
    days = world.tally("compare", world.model, "1", "2", "--from", "2025-04-01", "--to", "2025-04-03", "--json").json
    assert (days["source"], days["days"]) == ("scored days", 3)
    shown = world.tally("compare", world.model, "1", "2").out
    assert "version 1" in shown
    assert "roc_auc" in shown


def _diffed(world) -> None:
    told = world.tally("diff", world.model, "2025-04-06", "--json", "--rows", "--limit", "5").json
    assert told["why"].keys() == {"model"}
    assert told["rows"]["changed"] > 0
    assert {row["why"] for row in told["listed"]} == {"model"}
    assert len(told["listed"]) == 5
    people = world.tally("diff", world.model, "2025-04-06", "--rows", "--limit", "2")
    assert " -> " in people.out
    assert "model version" in people.out
    assert "--limit shows more" in people.err
    world.tally("diff", world.model, "2025-04-01", code=4)


def _withdrawn(world) -> None:
    withdraw = ("withdraw", world.model, "2", "--reason", "trained on wrong labels", "--by", "a test")
    assert world.tally(*withdraw, "--json").json["withdrawn"]
    again = world.tally(*withdraw)
    assert "nothing changed: line 3 has withdrawn version 2 already" in again.err
    assert [line["action"] for line in world.tally("history", world.model, "--json").json] == [
        "promote", "promote", "withdraw",
    ]  # fmt: skip
    assert world.tally("history", world.model, "--on", "2025-04-06", "--json").json[0]["model_version"] == 1
    assert world.tally("versions", world.model, "--json").json[1]["withdrawn"] == "line 3: trained on wrong labels"


def _scored_by_another(world) -> None:
    repeated = world.tally("score", world.model, *DAY, "--json").json[0]
    assert (repeated["action"], repeated["model"]) == ("unchanged", "champion: version 2")
    assert "version 2 was withdrawn by line 3 of the log (trained on wrong labels)" in repeated["detail"]
    range_ = ("--from", DAY[1], "--to", DAY[1])
    (dry,) = world.tally("backfill", world.model, *range_, "--rescore", "--dry-run", "--json").json
    assert (dry["action"], dry["why"]) == ("score", "withdrawn")
    rescored = world.tally("score", world.model, *DAY, "--rescore", "--json").json[0]
    assert (rescored["action"], rescored["model"]) == ("committed", "champion: version 1")
    new = world.tally("score", world.model, "--date", "2025-04-21", "--json").json[0]
    assert new["model"] == "champion: version 1"
    (manifest,) = world.rows("select reason from late_orders__tallies where score_date = date '2025-04-21'")
    assert manifest == {"reason": "withdrawn"}
    world.tally(*PROMOTE, code=8)
    repeated = world.tally(*PROMOTE, "--reason", "better", "--json").json
    assert (repeated["sequence"], "withdrawn by line 3" in repeated["note"]) == (2, True)
    world.tally("withdraw", world.model, "9", "--reason", "x", code=2)


def _nobody_left(world) -> None:
    world.tally("withdraw", world.model, "1", "--reason", "all wrong", "--by", "a test")
    assert "exit code 7" in world.tally("withdraw", world.model, "1", "--reason", "all wrong", "--by", "a test").err
    world.tally("score", world.model, "--date", "2025-04-22", code=7)
    assert world.tally("score", world.model, "--date", "2025-04-21", "--json").json[0]["action"] == "unchanged"
