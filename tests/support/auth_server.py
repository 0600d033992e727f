"""An MLflow server that asks who is there (its own basic authentication), on a free port of the loopback."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ports import free_port

_CONFIG = """\
[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/users.db
admin_username = admin
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 600
"""


@dataclass(frozen=True)
class AuthServer:
    """A running server; whoever it knows may read everything, and write what is their own."""

    uri: str
    password: str
    """Of the user `admin`."""

    def add_user(self, name: str, password: str) -> None:
        given = json.dumps({"username": name, "password": password}).encode()
        token = base64.b64encode(f"admin:{self.password}".encode()).decode()
        headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.uri}/api/2.0/mlflow/users/create", given, headers)  # noqa: S310 - ours
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own server
            assert answer.status == 200


@contextmanager
def auth_server(folder: Path, password: str) -> Iterator[AuthServer]:
    """Starts one with its records and files in a new folder, and ends it."""
    folder.mkdir(parents=True)
    (folder / "auth.ini").write_text(_CONFIG.format(folder=folder, password=password))
    uri = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", uri.rpartition(":")[2]]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/files"]
    own = {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": f"secret of {folder.name}",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, env=os.environ | own, start_new_session=True
        )
    try:
        _wait(uri, server, folder / "log")
        yield AuthServer(uri, password)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def _wait(uri: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(1200):
        assert server.poll() is None, log.read_text()
        with suppress(OSError), urllib.request.urlopen(f"{uri}/health", timeout=2):  # noqa: S310 - our own server
            return
        time.sleep(0.1)
    raise AssertionError("the server did not come up")
