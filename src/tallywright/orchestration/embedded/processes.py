"""The processes of an embedded Airflow: API server, scheduler and DAG processor on loopback, SQLite, one user.

`airflow standalone` would open log ports on all interfaces and stop caring when a process dies. Here all configuration
is in the environment, secrets are generated once per home folder, and exactly the started processes are stopped.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tallywright.errors import StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

USER: Final = "admin"
COMMANDS: Final = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
}
_STOP_SECONDS: Final = 20.0
_CHILDREN: Final[list[subprocess.Popen[bytes]]] = []
"""Processes that this one started: they are meant to outlive it, so they are kept, and reaped by `stop`."""
_SEE_LOGS: Final = "see the logs in .tally/airflow/logs"


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets of a home folder: generated once, readable by its owner alone."""

    port: int
    password: str
    fernet_key: str
    secret_key: str
    jwt_secret: str


@dataclass(frozen=True, slots=True)
class StartedProcess:
    """One process as it was started; the start time tells it from a later process with the same id."""

    name: str
    pid: int
    started: str


@dataclass(frozen=True, slots=True)
class EmbeddedAirflow:
    """One Airflow home and the project whose DAGs it runs.

    Attributes:
        root: The project's root, with `dags/`.
        home: AIRFLOW_HOME: database, logs, secrets, ids of the processes.
        parallelism: How many tasks run at once.
        paused: True when DAGs that Airflow sees for the first time wait until somebody unpauses them.
    """

    root: Path
    home: Path
    parallelism: int = 3
    paused: bool = False

    @property
    def address(self) -> str:
        """The address of the UI."""
        return f"http://127.0.0.1:{self.secrets().port}"

    @property
    def password(self) -> str:
        """The password of the user `admin`."""
        return self.secrets().password

    @property
    def made(self) -> bool:
        """True once `start` has made the database."""
        return (self.home / "airflow.db").exists()

    def secrets(self) -> Secrets:
        """The secrets of this home, made on first use."""
        file = self.home / "secrets.json"
        if file.exists():
            return Secrets(**json.loads(file.read_text(encoding="utf-8")))
        made = Secrets(
            port=free_port(),
            password=secrets.token_urlsafe(9),
            fernet_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            secret_key=secrets.token_hex(16),
            jwt_secret=secrets.token_hex(32),
        )
        self._write_private("secrets.json", json.dumps(asdict(made)))
        return made

    def environment(self) -> dict[str, str]:
        """The environment of every Airflow process, and of an `airflow` command that should see the same database."""
        own = self.secrets()
        return os.environ | {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__API__BASE_URL": self.address,
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(own.port),
            "AIRFLOW__API__SECRET_KEY": own.secret_key,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": own.jwt_secret,
            "AIRFLOW__CORE__AUTH_MANAGER": (
                "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
            ),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": str(self.paused),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.root / "dags"),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.address}/execution/",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__FERNET_KEY": own.fernet_key,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": str(self.parallelism),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.home / "passwords.json"),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "120",
            "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home / 'airflow.db'}",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS": "tallywright.orchestration.embedded.sqlite.CONNECT_ARGS",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.home / "logs"),
            "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "5",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",
            "TALLYWRIGHT_ROOT": str(self.root),
        }

    def start(self, port: int | None = None) -> None:
        """Starts those of the three processes that do not run; the others, and the tasks they supervise, go on.

        Makes the database if there is none. Without its API server the whole is started anew: on this port, or else on
        the one it had if that is free.

        Raises:
            UsageError: The port that was asked for is taken, or Airflow runs on another one.
            StorageError: The database cannot be made.
        """
        if "api-server" in self.missing():
            self.stop()
            self._choose_port(port)
            self._write_private("passwords.json", json.dumps({USER: self.password}))
            self._migrate()
        elif port not in (None, self.secrets().port):
            raise UsageError(
                f"this Airflow runs at {self.address}",
                expected=f"no other port than {self.secrets().port} while it runs",
                remedy="stop it first",
            )
        processes = self.running()
        processes += [self._spawn(name, COMMANDS[name]) for name in self.missing()]
        self._write_private("processes.json", json.dumps([asdict(process) for process in processes]))

    def running(self) -> list[StartedProcess]:
        """The processes that were started and still run."""
        file = self.home / "processes.json"
        if not file.exists():
            return []
        known = [StartedProcess(**values) for values in json.loads(file.read_text(encoding="utf-8"))]
        return [process for process in known if started_at(process.pid) == process.started]

    def missing(self) -> list[str]:
        """The names of the processes that should run and do not."""
        alive = {process.name for process in self.running()}
        return [name for name in COMMANDS if name not in alive]

    def stop(self) -> list[str]:
        """Stops exactly the processes of this home, gently, then by force; returns their names."""
        processes = self.running()
        for process in processes:
            _signal(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while self.running() and time.monotonic() < deadline:
            time.sleep(0.2)
        for process in self.running():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        for child in _CHILDREN:
            child.poll()
        (self.home / "processes.json").unlink(missing_ok=True)
        return [process.name for process in processes]

    def log_file(self, name: str) -> Path:
        """The log file of a process, or of the database's migration."""
        return self.home / "logs" / f"{name}.log"

    def airflow(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs an `airflow` command against this home and returns what it printed (both streams in `stdout`)."""
        return subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=self.environment(),
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def _migrate(self) -> None:
        done = self.airflow("db", "migrate")
        self.log_file("database").write_text(done.stdout, encoding="utf-8")
        if done.returncode != 0:
            raise StorageError("Airflow's database could not be made", remedy=f"see {self.log_file('database')}")

    def _spawn(self, name: str, arguments: tuple[str, ...]) -> StartedProcess:
        with self.log_file(name).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tallywright.orchestration.embedded.preloaded", *arguments],
                env=self.environment(),
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _CHILDREN.append(process)
        return StartedProcess(name, process.pid, started_at(process.pid))

    def _choose_port(self, wanted: int | None) -> None:
        own = self.secrets()
        if wanted is not None and not _is_free(wanted):
            raise UsageError(
                f"another program listens on port {wanted} of this machine",
                expected="a free port",
                remedy="name another one, or none: a free one is then chosen",
            )
        port = wanted or (own.port if _is_free(own.port) else free_port())
        if port != own.port:
            self._write_private("secrets.json", json.dumps(asdict(replace(own, port=port))))

    def _write_private(self, name: str, text: str) -> None:
        # Its password, its keys and its database are for nobody else, nor is what lies beside it.
        for folder in (self.home.parent, self.home):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.home / "logs").mkdir(exist_ok=True)
        partial = self.home / f".{name}.{os.getpid()}"
        partial.touch(mode=0o600)
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(self.home / name)


def wait_until(what: str, ready: Callable[[], bool], *, seconds: float, alive: Callable[[], list[str]]) -> None:
    """Waits for `ready`; gives up early when `alive` names processes that have died.

    Raises:
        UsageError: It took longer than `seconds`, or a process died.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        dead = alive()
        if dead:
            raise UsageError(f"waiting for {what}: {', '.join(dead)} stopped", remedy=_SEE_LOGS)
        if time.monotonic() > deadline:
            raise UsageError(f"{what} did not happen within {seconds:.0f} s", remedy=_SEE_LOGS)
        time.sleep(0.5)


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def started_at(pid: int) -> str:
    """The start time of a process as the system prints it; empty when there is none (or only its zombie)."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] == "Z" else fields[19]
    found = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S607
    return found.stdout.strip()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
