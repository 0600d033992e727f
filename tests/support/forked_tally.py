"""The `tally` command in a process of its own that need not import everything first.

Half of what a short command costs is the import of Great Expectations, MLflow and torch. The standard library's fork
server has imported them once for each test process, and forks for each command: the child has its own folder,
environment, output and exit code like any other. What is about the start of a process, or about what it imports, runs
the interpreter itself.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path

_IMPORTED = (
    *("great_expectations", "great_expectations.expectations", "mlflow", "matplotlib.pyplot", "pandas"),
    *("pyarrow.dataset", "sklearn.ensemble", "sklearn.linear_model", "torch"),
)
_NOT_FORKED = {"deltalake", "duckdb", "onnxruntime"}
"""They have threads once they are imported, and ONNX Runtime never ends in a process that was forked after that."""


def run_tally(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float = 560
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` with `python -m tallywright`, its text captured."""
    with tempfile.NamedTemporaryFile("w+") as out, tempfile.NamedTemporaryFile("w+") as err:
        process = _context().Process(target=_run, args=(arguments, folder, dict(environment), out.name, err.name))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(["tally", *arguments], timeout)
        return subprocess.CompletedProcess(["tally", *arguments], process.exitcode, out.read(), err.read())


@cache
def _context() -> ForkServerContext:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # the server starts with what is here
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_IMPORTED])
    return context


def _run(arguments: Sequence[str], folder: Path, environment: Mapping[str, str], out: str, err: str) -> None:
    """Becomes the command, and ends with its exit code."""
    assert not _NOT_FORKED & sys.modules.keys(), "the server that forks has started threads"
    for stream, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY), stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["tally", *arguments]
    code: int | str | None = 0
    try:
        runpy.run_module("tallywright", run_name="__main__", alter_sys=True)
    except SystemExit as error:
        code = error.code
    # All that is registered for the end is done; only taking every imported module apart again takes too long.
    threading._shutdown()  # type: ignore[attr-defined] # tells pools to end, then waits for all threads
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))
