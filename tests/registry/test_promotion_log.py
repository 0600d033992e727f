from __future__ import annotations

import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from decided import decided

from tallywright.data.delta.lake import Lake
from tallywright.errors import UsageError
from tallywright.records import Promotion
from tallywright.registry.promotion_log import PromotionLog, clock_jumps

from .conftest import DAY, NOW


def line(version, effective=0, minutes=0):
    return decided(
        Promotion(
            model="toy",
            sequence=0,
            action="promote",
            model_version=version,
            package_digest=f"{version:064x}",
            trained_through=DAY - timedelta(days=30),
            effective_from=DAY + timedelta(days=effective),
            recorded_at=NOW + timedelta(minutes=minutes),
            approver="policy",
            reason="because",
        )
    )


def test_nothing_was_ever_promoted(lake, project):
    log = PromotionLog(lake, project.spec)
    assert log.entries() == []
    assert log.champion_on(DAY) is None
    assert log.current() is None


def test_lines_come_back_as_written(lake, project):
    log = PromotionLog(lake, project.spec)
    first = log.append(lambda _: line(1))
    second = log.append(lambda _: line(2, effective=5, minutes=1))
    assert [first.sequence, second.sequence] == [1, 2]
    assert PromotionLog(lake, project.spec).entries() == [first, second]
    assert log.champion_on(DAY + timedelta(days=4)) == first
    assert log.champion_on(DAY + timedelta(days=5)) == second
    assert log.champion_on(DAY + timedelta(days=5), known_at=NOW) == first
    assert log.previous() == first


def test_a_clock_that_was_ahead_changes_only_its_own_time(lake, project, heard):
    log = PromotionLog(lake, project.spec)
    log.append(lambda _: line(1, minutes=10))
    late = log.append(lambda _: line(2, minutes=0))
    assert late.recorded_at == NOW
    assert log.champion_on(DAY) == late
    assert "a clock has jumped: line 2" in heard.text
    assert [entry.sequence for entry in log.entries()] == [1, 2]
    told = clock_jumps(log.entries(), NOW + timedelta(minutes=5))
    assert [text.split(" is ")[0] for text in told] == ["line 1", "line 2"]
    assert clock_jumps(log.entries()[1:], NOW) == []


def test_a_refusal_writes_nothing_not_even_the_table(lake, project):
    log = PromotionLog(lake, project.spec)

    def refuse(_):
        raise UsageError("no")

    with pytest.raises(UsageError):
        log.append(refuse)
    assert log.append(lambda _: None) is None
    assert lake.tables() == []


def test_two_writers_never_get_one_sequence_and_decide_on_the_truth(lake, project):
    seen = []

    def promote(version):
        def propose(entries):
            seen.append(len(entries))
            return line(version)

        return PromotionLog(lake, project.spec).append(propose)

    with ThreadPoolExecutor(4) as pool:
        written = list(pool.map(promote, range(1, 9)))
    entries = PromotionLog(lake, project.spec).entries()
    assert [entry.sequence for entry in entries] == list(range(1, 9))
    assert sorted(written, key=lambda entry: entry.sequence) == entries
    assert {entry.model_version for entry in entries} == set(range(1, 9))


def test_the_state_a_writer_decided_on_is_the_state_it_writes_onto(lake, project):
    """Another line slips in between reading and writing: the writer is asked again and sees it."""
    log, calls = PromotionLog(lake, project.spec), []

    def propose(entries):
        calls.append([entry.model_version for entry in entries])
        if len(calls) == 2:
            PromotionLog(lake, project.spec).append(lambda _: line(7))
        return line(1)

    assert log.append(propose).sequence == 2
    assert calls == [[], [], [7]]


@pytest.mark.slow
def test_writers_in_processes(lake, project):
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        sys.path[:0] = [sys.argv[2], f"{sys.argv[2]}/support"]
        from registry.test_promotion_log import line
        from tallywright.data.delta.lake import Lake
        from tallywright.registry.promotion_log import PromotionLog
        from tallywright.spec import load_project
        project = load_project("toy", root=Path(sys.argv[1]), environment="local")
        for version in range(5):
            PromotionLog(Lake.of(project.environment), project.spec).append(lambda _: line(version))
        """
    )
    tests = __file__.rpartition("/registry/")[0]
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(project.root), tests], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert [entry.sequence for entry in PromotionLog(lake, project.spec).entries()] == list(range(1, 16))


def test_a_log_that_is_read_while_others_append_is_sound(lake, project, monkeypatch):
    """Another writer appends between the reader's look at the head and at the entries, and the other way round."""
    log = PromotionLog(lake, project.spec)
    log.append(lambda _: line(1))
    other = PromotionLog(Lake.of(project.environment), project.spec)
    for name in ("stored", "_head"):
        inner = getattr(PromotionLog, name)
        waiting = [True]

        def after(self, inner=inner, waiting=waiting):
            found = inner(self)
            if waiting:
                waiting.pop()
                other.append(lambda entries: line(len(entries) + 1))
            return found

        with monkeypatch.context() as patched:
            patched.setattr(PromotionLog, name, after)
            log.entries()
            waiting.append(True)
            log.append(lambda entries: line(len(entries) + 1))
    found = [entry.sequence for entry in log.entries()]
    assert found == list(range(1, len(found) + 1))
    assert log.problems() == []
