"""The promotion log as evidence: whatever was changed, removed, moved or put in is found, and where."""

from __future__ import annotations

import json
import subprocess
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from deltalake import DeltaTable, write_deltalake
from hypothesis import given
from hypothesis import strategies as st

from tallywright.cli.history_command import history
from tallywright.errors import IntegrityError, TallyError
from tallywright.observability import at_failpoint
from tallywright.records import Promotion
from tallywright.registry.log_head import Expected, difference, head_to_keep
from tallywright.registry.promotion_chain import asked_of, evidence_digest, head_of, line_digests, problems, sealed
from tallywright.registry.promotion_log import PromotionLog

from .conftest import NOW
from .test_promotion_log import line

ENTRIES = 5


def chained(count: int = ENTRIES) -> list[Promotion]:
    """A log as the product writes it."""
    entries: list[Promotion] = []
    for number in range(1, count + 1):
        entry = line(number, effective=number).model_copy(
            update={"sequence": number, "recorded_by": "ann", "authentication": "key"}
        )
        entries.append(sealed(entry.model_copy(update={"request": asked_of(entry)}), entries))
    return entries


def found(entries: list[Promotion], head: Promotion | None = None) -> list[int]:
    return [problem.line for problem in problems(entries, None if head is None else head_of(head))]


def another(value: Any) -> st.SearchStrategy[Any]:
    """Other values of the type of a field."""
    kinds = {
        str: st.text(max_size=80),
        int: st.integers(-3, 99),
        date: st.dates(date(1970, 1, 1), date(2100, 1, 1)),
        datetime: st.integers(1, 10**6).map(lambda seconds: NOW + timedelta(seconds=seconds)),
    }
    return kinds[type(value)].filter(lambda other: other != value)


def test_a_log_that_is_as_it_was_recorded_is_sound() -> None:
    entries = chained()
    assert found(entries, entries[-1]) == []
    assert all(entry.evidence == evidence_digest(entry) for entry in entries)


@pytest.mark.parametrize("field", Promotion.model_fields)
@given(data=st.data())
def test_a_changed_field_of_any_entry_is_found_with_its_line(field: str, data: st.DataObject) -> None:
    entries = chained()
    place = data.draw(st.integers(0, ENTRIES - 1))
    value = data.draw(another(getattr(entries[place], field)))
    changed = [*entries]
    changed[place] = entries[place].model_copy(update={field: value})
    lines = found(sorted(changed, key=lambda entry: entry.sequence), entries[-1])
    assert lines, (field, value)
    # Where the number itself was changed, what is missing is told, and what stands in another place.
    assert field == "sequence" or place + 1 in lines


EVIDENCE, ASKED = "reports, approver, answer or comment", "what was asked (action, version, date, approver, reason)"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("reason", "other", f"{EVIDENCE} and {ASKED}"),
        ("approver", "mallory", f"{EVIDENCE} and {ASKED}"),
        ("authentication", "", EVIDENCE),
        ("decision_json", chained(1)[0].decision_json, EVIDENCE),
        ("effective_from", NOW.date(), ASKED),
        ("recorded_by", "bob", "another field of it, or its digest"),
        ("digest", "0" * 64, "another field of it, or its digest"),
    ],
)
def test_what_was_changed_is_said(field: str, value: Any, said: str) -> None:
    entries = chained()
    entries[2] = entries[2].model_copy(update={field: value})
    first = next(problems(entries, None))
    assert str(first) == f"entry 3 (version 3) is not what was recorded: {said}"


def test_evidence_that_was_replaced_with_the_digest_of_its_entry_is_found() -> None:
    entries = chained()
    forged = entries[-1].model_copy(update={"reason": "another comment"})
    forged = forged.model_copy(update={"digest": line_digests([*entries[:-1], forged])[-1]})
    assert [str(problem) for problem in problems([*entries[:-1], forged], None)] == [
        "entry 5 (version 5) has other evidence than was recorded"
    ]


@given(removed=st.integers(1, ENTRIES - 1), renumbered=st.booleans())
def test_a_removed_entry_is_found(removed: int, renumbered: bool) -> None:  # noqa: FBT001 - drawn
    entries = chained()
    left = [entry for entry in entries if entry.sequence != removed]
    if renumbered:
        left = [entry.model_copy(update={"sequence": number}) for number, entry in enumerate(left, start=1)]
    assert found(left)[0] == removed


def test_the_newest_entry_that_was_removed_is_found_by_the_head() -> None:
    entries = chained()
    assert found(entries[:-1]) == []
    assert found(entries[:-1], entries[-1]) == [ENTRIES]
    kept = head_to_keep(entries)
    told = difference(entries[:-1], Expected(kept.sequence, kept.digest))
    assert told is not None
    assert (told.line, "the log had 5 entries" in told.what) == (ENTRIES, True)


@given(first=st.integers(0, ENTRIES - 2))
def test_entries_in_another_order_are_found_and_where_they_stood(first: int) -> None:
    entries = chained()
    one, two = entries[first], entries[first + 1]
    entries[first] = two.model_copy(update={"sequence": one.sequence})
    entries[first + 1] = one.model_copy(update={"sequence": two.sequence})
    told = list(problems(entries, None))
    assert {problem.line for problem in told} >= {first + 1, first + 2}
    assert f"was recorded as entry {first + 2}" in str(told[0]) or first == 0


@given(place=st.integers(0, ENTRIES - 1), renumbered=st.booleans())
def test_an_entry_that_was_put_in_is_found(place: int, renumbered: bool) -> None:  # noqa: FBT001 - drawn
    """Also with a digest that fits its place, as anybody can compute it."""
    entries = chained()
    put_in = line(9).model_copy(update={"sequence": place + 1})
    put_in = sealed(put_in, entries[:place])
    later = entries[place:]
    if renumbered:
        later = [entry.model_copy(update={"sequence": entry.sequence + 1}) for entry in later]
    assert found([*entries[:place], put_in, *later]), place


@given(changed=st.integers(0, ENTRIES - 1))
def test_a_log_that_was_written_anew_is_found_by_a_head_that_was_kept(changed: int) -> None:
    """A forger who may write the lake makes a sound chain; the kept head says from which entry on it differs."""
    entries = chained()
    forged: list[Promotion] = []
    for place, entry in enumerate(entries):
        update = {"reason": "as it never was"} if place == changed else {}
        forged.append(sealed(entry.model_copy(update=update), forged))
    assert found(forged, forged[-1]) == []
    kept = head_to_keep(entries)
    told = difference(forged, Expected(kept.sequence, kept.digest, kept.lines))
    assert told is not None
    assert (told.line, "from there on" in told.what) == (changed + 1, True)
    bare = difference(forged, Expected(kept.sequence, kept.digest))
    assert bare is not None
    assert bare.line == ENTRIES


def test_what_was_appended_since_is_no_difference_and_entries_of_before_are_covered() -> None:
    """The first entries have no digest, as in logs of before."""
    old = [entry.model_copy(update={"digest": "", "evidence": ""}) for entry in chained(2)]
    kept = head_to_keep(old)
    grown = [*old, sealed(line(3).model_copy(update={"sequence": 3}), old)]
    assert found(grown, grown[-1]) == []
    for lines in (kept.lines, ()):
        assert difference(grown, Expected(kept.sequence, kept.digest, lines)) is None
    changed = [grown[0].model_copy(update={"reason": "other"}), *grown[1:]]
    assert found(changed) == [3]
    told = difference(changed, Expected(kept.sequence, kept.digest, kept.lines))
    assert told is not None
    assert told.line == 1


# --- through the lake and the command


@pytest.fixture
def written(project, lake) -> Path:
    """The folder of a log of three entries."""
    log = PromotionLog(lake, project.spec)
    for number in range(1, 4):
        log.append(lambda _, number=number: line(number, effective=number))
    return Path(project.environment.storage.lake) / "toy__promotions"


def tally(project, *arguments: str, code: int = 0) -> tuple[str, str]:
    """Runs a command in this process; what it printed, and what it printed or raised as an error."""
    done = CliRunner().invoke(history, [*arguments, "--root", str(project.root)])
    error = done.exception if isinstance(done.exception, TallyError) else None
    assert (error.exit_code if error else done.exit_code) == code, done.output
    assert error or isinstance(done.exception, SystemExit | None), done.exception
    return done.stdout, f"{done.stderr}{error or ''}"


def test_one_byte_that_a_plain_write_changed_is_found_with_its_line(project, written) -> None:
    said, _ = tally(project, "toy", "--verify")
    assert said.startswith("3 entries stand; head 3:")
    DeltaTable(written).update(updates={"reason": "'Because'"}, predicate="sequence = 2")
    said, _ = tally(project, "toy", "--verify", "--json", code=IntegrityError.exit_code)
    (problem,) = json.loads(said)["problems"]
    assert problem == {
        "line": 2,
        "what": "(version 2) is not what was recorded: reports, approver, answer or comment and "
        "what was asked (action, version, date, approver, reason)",
    }


def test_a_row_that_is_no_entry_is_found_and_ends_no_command_with_an_error_of_others(project, written) -> None:
    DeltaTable(written).update(updates={"approver": "null"}, predicate="sequence = 2")
    said, _ = tally(project, "toy", "--verify", code=IntegrityError.exit_code)
    assert "entry 2 cannot be read" in said
    tally(project, "toy", code=IntegrityError.exit_code)


def test_a_writer_that_died_before_the_head_records_it_when_it_asks_again(project, written, lake) -> None:
    """Without that, the entry could be deleted until the next one is written, and nobody would know."""
    log = PromotionLog(lake, project.spec)

    def die(point: str) -> None:
        if point == "promotion-appended":
            raise KeyboardInterrupt

    token = at_failpoint.set(die)
    try:
        with pytest.raises(KeyboardInterrupt):
            log.append(lambda _: line(4, effective=4))
    finally:
        at_failpoint.reset(token)
    assert log.append(lambda _: None) is None
    DeltaTable(written).delete("sequence = 4")
    said, _ = tally(project, "toy", "--verify", code=IntegrityError.exit_code)
    assert said == "entry 4 is missing: the log ends with 3\n"


def test_rows_that_were_deleted_and_put_in_are_found(project, written) -> None:
    rows = DeltaTable(written).to_pyarrow_table()
    DeltaTable(written).delete("sequence = 3")
    said, _ = tally(project, "toy", "--verify", code=IntegrityError.exit_code)
    assert said == "entry 3 is missing: the log ends with 2\n"
    write_deltalake(written, pa.concat_tables([rows, rows.slice(0, 1)]), mode="overwrite")
    said, _ = tally(project, "toy", "--verify", code=IntegrityError.exit_code)
    assert "was put in: the number is taken" in said


def test_the_head_is_kept_and_finds_a_log_and_a_head_that_were_both_written_anew(project, written, tmp_path) -> None:
    kept = tmp_path / "head.json"
    kept.write_text(tally(project, "toy", "--head", "--json")[0])
    shown = tally(project, "toy", "--head")[0]
    short = f"3:{json.loads(kept.read_text())['digest']}"
    assert short in shown
    for compared in (("--expect", short), ("--head-file", str(kept))):
        assert "it holds all that the kept head says" in tally(project, "toy", *compared)[0]
    log = Path(project.environment.storage.lake)
    for table in ("toy__promotions", "toy__heads"):
        (log / table).rename(log / f"{table}_old")
    from tallywright.data.delta.lake import Lake

    forged = PromotionLog(Lake.of(project.environment), project.spec)
    for number in (1, 4, 3):
        forged.append(lambda _, number=number: line(number, effective=number))
    assert "3 entries stand" in tally(project, "toy", "--verify")[0]
    said, _ = tally(project, "toy", "--head-file", str(kept), code=IntegrityError.exit_code)
    assert said.startswith("entry 2 is another one than in the head that was kept")
    said, _ = tally(project, "toy", "--expect", short, code=IntegrityError.exit_code)
    assert said.startswith("entry 3 is another one than the head that was kept: it, or one before it")


def test_a_signed_head_is_by_a_key_of_the_spec_and_stays_as_it_was_signed(project, written, tmp_path) -> None:
    for name in ("ann", "mallory"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(tmp_path / name)]
        subprocess.run(command, check=True)
    public = (tmp_path / "ann.pub").read_text().strip()
    model = project.root / "models/toy/model.yaml"
    model.write_text(f"{model.read_text()}registry: {{approver_keys: {{ann: {public}}}}}\n")
    ask = ("toy", "--head", "--json", "--key")
    assert "does not name the key" in tally(project, *ask, str(tmp_path / "mallory"), code=8)[1]
    kept = tmp_path / "head.json"
    kept.write_text(tally(project, *ask, str(tmp_path / "ann"))[0])
    head = json.loads(kept.read_text())
    assert head["signed_by"] == "ann"
    said, told = tally(project, "toy", "--head-file", str(kept))
    assert ("it holds all" in said, "signed by ann" in told) == (True, True)
    for change in ({"sequence": 2}, {"lines": head["lines"][:1]}, {"signature": "AA=="}, {"signed_by": "mallory"}):
        kept.write_text(json.dumps(head | change))
        _, told = tally(project, "toy", "--head-file", str(kept), code=IntegrityError.exit_code)
        assert "signed" in told


@pytest.mark.parametrize(
    "arguments",
    [
        ("--verify", "--head"), ("--on", "2013-06-01", "--verify"), ("--key", "nowhere"), ("--expect", "12"),
        ("--head-file", "nowhere"), ("--head-file", "models/toy/model.yaml"), ("--expect", ""),
        ("--expect", f"1:{'a' * 64}", "--head-file", "x"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(project, arguments) -> None:
    tally(project, "toy", *arguments, code=2)


def test_the_head_of_a_log_without_entries_is_none(project) -> None:
    assert "has no entry yet" in tally(project, "toy", "--head", code=2)[1]
    assert tally(project, "toy", "--verify")[0] == "0 entries stand; head none\n"
