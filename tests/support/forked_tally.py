"""The `tally` command in a process of its own that need not import everything first.

Half of what a short command costs is the import of Great Expectations, MLflow and torch. A server per test process has
imported them once and forks for each command: the child has its own folder, environment, output and exit code like any
other. What is about the start of a process, or about what it imports, runs the interpreter itself.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

_SLOW_IMPORTS = (
    *("great_expectations", "great_expectations.expectations", "mlflow", "matplotlib.pyplot", "pandas"),
    *("pyarrow.dataset", "sklearn.ensemble", "sklearn.linear_model", "torch"),
)
_NOT_FORKED = {"deltalake", "duckdb", "onnxruntime"}
"""They have threads once they are imported, and ONNX Runtime never ends in a process that was forked after that."""
_NUMBER = 8
"""Bytes of a number: how long a message is, which process, which status."""


def run_tally(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` with `python -m tallywright`, its text captured."""
    asked = json.dumps({"arguments": arguments, "folder": str(folder), "environment": dict(environment)}).encode()
    with (
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
        socket.socket(socket.AF_UNIX) as connection,
    ):
        connection.settimeout(timeout)
        connection.connect(str(_server()))
        socket.send_fds(connection, [len(asked).to_bytes(_NUMBER, "big")], [out.fileno(), err.fileno()])
        connection.sendall(asked)
        process = _number(connection)
        try:
            status = _number(connection)
        except TimeoutError:
            os.kill(process, signal.SIGKILL)
            raise
        for file in (out, err):
            file.seek(0)
        code = os.waitstatus_to_exitcode(status)
        return subprocess.CompletedProcess(["tally", *arguments], code, out.read(), err.read())


@cache
def _server() -> Path:
    """Where it listens. Started at the first command; it ends with this process, however that ends."""
    folder = Path(tempfile.mkdtemp(prefix="forked-tally-"))
    address = folder / "socket"
    process = subprocess.Popen([sys.executable, __file__, str(address)], stdin=subprocess.PIPE)
    atexit.register(process.communicate)
    while not address.exists():
        assert process.poll() is None, "the server that forks for each tally command did not start"
        time.sleep(0.02)
    return address


def _number(connection: socket.socket) -> int:
    return int.from_bytes(_exactly(connection, _NUMBER), "big")


def _exactly(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        more = connection.recv(count - len(found))
        if not more:
            raise EOFError("the other end is gone")
        found += more
    return found


def _end_with_the_tests(address: Path) -> None:
    """A child waits for the end of the pipe: so the server has one thread, and may fork."""
    server = os.getpid()
    if not os.fork():
        sys.stdin.buffer.read()
        os.kill(server, signal.SIGTERM)
        shutil.rmtree(address.parent, ignore_errors=True)
        os._exit(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def _import_all() -> None:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in _SLOW_IMPORTS:
            importlib.import_module(name)
    gc.freeze()
    assert not _NOT_FORKED & sys.modules.keys()


def _serve(address: Path) -> None:
    """Forks for each connection; the child forks again for the command, and waits for it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who wait
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{address}.new")
    listener.listen()
    Path(f"{address}.new").rename(address)
    while True:
        connection, _ = listener.accept()
        if not os.fork():
            listener.close()
            _attend(connection)
            return
        connection.close()


def _attend(connection: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    header, outputs, *_ = socket.recv_fds(connection, _NUMBER, 2)
    asked = json.loads(_exactly(connection, int.from_bytes(header, "big")))
    process = os.fork()
    if process:
        connection.sendall(process.to_bytes(_NUMBER, "big"))
        _, status = os.waitpid(process, 0)
        connection.sendall(status.to_bytes(_NUMBER, "big"))
        os._exit(0)
    connection.close()
    for stream, output in zip((1, 2), outputs, strict=True):
        os.dup2(output, stream)
        os.close(output)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = ["tally", *asked["arguments"]]
    _run_and_exit()


def _run_and_exit() -> None:
    """All that is registered for the end is done; only taking every imported module apart again takes too long."""
    code: int | str | None = 0
    try:
        runpy.run_module("tallywright", run_name="__main__", alter_sys=True)
    except SystemExit as error:
        code = error.code
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    where = Path(sys.argv[1])
    _end_with_the_tests(where)
    _import_all()
    _serve(where)
