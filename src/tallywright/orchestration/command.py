"""The command line of a step, and the guarded process that runs it.

The same line can be typed by a person. It is a list of arguments from start to end: no shell ever sees a parameter.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tallywright import guard
from tallywright.errors import TallyError, UnexpectedError
from tallywright.registry.approval.authentication import ANSWER_VARIABLE, KEY_VARIABLE, STARTED_BY_VARIABLE
from tallywright.spec.load import ENVIRONMENT_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date
    from pathlib import Path

POOL: Final = "tallywright"
"""The Airflow pool that bounds how many heavy steps run at once on a machine."""

STOP_SECONDS: Final = guard.GRACE_SECONDS + 5
_PASSED: Final = re.compile(
    r"""(?x)
    # the machine and the user
    PATH | HOME | USER | LOGNAME | SHELL | HOSTNAME | LANG | LANGUAGE | LC_\w+ | TZ | TERM | COLUMNS | NO_COLOR
    | TMPDIR | TEMP | TMP | XDG_\w+
    # interpreters and libraries
    | PYTHON\w+ | VIRTUAL_ENV | LD_LIBRARY_PATH | DYLD_\w+ | (OMP|MKL|OPENBLAS|NUMEXPR|MALLOC|ARROW|CUDA|NVIDIA)_\w+
    # networks
    | SSL_CERT_(FILE|DIR) | REQUESTS_CA_BUNDLE | CURL_CA_BUNDLE | (?i:(https?|no|all)_proxy)
    # what a step works with: its own settings, MLflow, object stores, engines
    | TALLYWRIGHT_\w+ | MLFLOW_\w+ | (AWS|AZURE|GOOGLE)_\w+
    | (JAVA|SPARK|PYSPARK|HADOOP|YARN|KRB5|KUBERNETES|BEAM)\w* | JDK_JAVA_OPTIONS
    # which run it is; the provider's part of it, no settings
    | AIRFLOW_CTX_\w+
    """
)
"""The variables of Airflow's worker that a step gets; others, the overlay names (`engine.environment`, `oc.env`)."""
_PRIVATE: Final = frozenset({ANSWER_VARIABLE, KEY_VARIABLE, STARTED_BY_VARIABLE})
"""The operator's own: no step inherits an answer, the key that signs them, or who started the run."""
_FROM_OVERLAY: Final = re.compile(r"\$\{oc\.env:\s*([A-Za-z_]\w*)")


@dataclass(frozen=True, slots=True)
class StepCommand:
    """The command line of a step, without what differs from run to run.

    Attributes:
        interpreter: The Python that has Tallywright.
        root: The project's root.
        model: Name of the model.
        step: Name of the step, snake_case.
        connection: Airflow connection with the object store's credentials; empty when the environment has them.
        passed: Further variables of the worker's environment that the step gets.
    """

    interpreter: str
    root: Path
    model: str
    step: str
    connection: str = ""
    passed: tuple[str, ...] = ()

    def argv(self, day: date, run_id: str, result: Path, options: Mapping[str, str | bool]) -> list[str]:
        """The arguments for one run; an option with True is a flag, with False or an empty text it is left out."""
        words = [self.interpreter, "-m", "tallywright", "run", self.model, self.step.replace("_", "-")]
        words += [f"--date={day.isoformat()}", f"--run-id={run_id}", f"--result={result}"]
        for name, value in options.items():
            if value is True:
                words.append(f"--{name}")
            elif value:
                words.append(f"--{name}={value}")
        return words

    def environment(self) -> dict[str, str]:
        """The child's environment: of this one what a step needs, plus the project's root; see `_PASSED`."""
        named = {*self.passed, *_read_by_overlay(self.root)}
        kept = {
            name: value for name, value in os.environ.items()
            if name not in _PRIVATE and (_PASSED.fullmatch(name) or name in named)
        }  # fmt: skip
        return kept | {"TALLYWRIGHT_ROOT": str(self.root), "PYTHONUNBUFFERED": "1"}


def _read_by_overlay(root: Path) -> set[str]:
    """The variables that the environment's overlay refers to: the step reads it too."""
    file = root / "conf" / f"{os.environ.get(ENVIRONMENT_VARIABLE) or 'local'}.yaml"
    try:
        return set(_FROM_OVERLAY.findall(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return set()  # the step itself says what is wrong with it


@dataclass(slots=True)
class GuardedProcess:
    """A command in a process group of its own that ends when `stop` is called or the caller dies."""

    argv: list[str]
    environment: dict[str, str] = field(repr=False)  # may hold credentials
    cwd: Path
    _process: subprocess.Popen[str] | None = field(default=None, init=False)

    def lines(self) -> Iterator[str]:
        """Starts the command and yields its output (both streams) line by line, to the end."""
        self._process = process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, *self.argv],
            cwd=self.cwd,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        assert process.stdout is not None  # noqa: S101 - PIPE was asked for
        for line in process.stdout:
            yield line.rstrip("\n")

    @property
    def pid(self) -> int | None:
        """The id of the guard, which is also the id of the group; None before the start."""
        return self._process.pid if self._process else None

    def alive(self) -> bool:
        """False once the command has ended; True before its start."""
        return self._process is None or self._process.poll() is None

    def wait(self) -> int:
        """The exit code of the command; 128 + n when signal n ended it."""
        if self._process is None:
            raise TallyError("the command was never started")
        code = self._process.wait()
        return code if code >= 0 else 128 - code

    def ask_to_stop(self) -> None:
        """Closes the pipe: the guard ends the group, gently, then by force; safe in a signal handler."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def stop(self) -> None:
        """Makes sure that nothing of the group is left; safe to call twice and before the start."""
        if self._process is None:
            return
        self.ask_to_stop()
        if not self._guard_has_ended_well():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _guard_has_ended_well(self) -> bool:
        """True when the guard has exited; its group is empty then, and its id may belong to another process."""
        assert self._process is not None  # noqa: S101 - asked by `stop` alone
        try:
            return self._process.wait(timeout=STOP_SECONDS) >= 0
        except subprocess.TimeoutExpired:
            return False


def error_of(exit_code: int) -> type[TallyError] | None:
    """The error class with this exit code; None for a crash, a signal or an undeclared code."""
    # The code of an unexpected error is that of a crash too.
    others = (TallyError.exit_code, UnexpectedError.exit_code)
    declared = {cls.exit_code: cls for cls in TallyError.__subclasses__() if cls.exit_code not in others}
    return declared.get(exit_code)


def is_retryable(exit_code: int) -> bool:
    """False for errors that are not retryable, as the same command would fail again."""
    error = error_of(exit_code)
    return error is None or error.retryable
