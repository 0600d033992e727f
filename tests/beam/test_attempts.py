"""A run that its driver gives up has its attempts end first, in threads that the runner itself does not stop."""

from __future__ import annotations

from threading import Event, Thread

import pytest

from tallywright.scoring.engines.beam.attempts import StoppedError, attempt, require_wanted, stop_attempts


def test_an_attempt_has_ended_when_its_run_is_stopped() -> None:
    began, ended = Event(), []

    def score() -> None:
        with attempt("stopped"):
            began.set()
            try:
                while True:  # batch after batch
                    require_wanted("stopped")
            except StoppedError:
                ended.append("cleaned up")

    thread = Thread(target=score)
    thread.start()
    assert began.wait(60)
    stop_attempts("stopped")
    assert ended == ["cleaned up"]
    thread.join()


def test_no_attempt_begins_after_that_and_another_run_goes_on() -> None:
    stop_attempts("given up")
    with pytest.raises(StoppedError), attempt("given up"):
        pytest.fail("an attempt began")
    with attempt("another"):
        require_wanted("another")
