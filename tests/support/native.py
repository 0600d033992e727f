"""Runs the services of a compose file without containers, each as the file says it: command, environment, health check.

What a container would bring is brought by hand: programs on PATH, mounted folders, Postgres' own entry point.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from containers import Stage, copies
from lacking import lacking
from places import GRPC, Places, free_ports

from tallywright import guard

INITDB = "/docker-entrypoint-initdb.d/"


def postgres_programs() -> str:
    """The folder with Postgres' server programs, which Debian keeps off PATH; without them a test ends here."""
    debian = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    for folder in [*debian, *os.environ["PATH"].split(":")]:
        if folder and Path(folder, "initdb").exists():
            return folder
    return lacking("the services of docker/: no Postgres", "apt-get install postgresql")


@dataclass
class Native:
    """The services that run, in a folder of their own.

    Attributes:
        services: The services of the compose file, all variables resolved.
        stages: The stages of the Dockerfile, for the programs that images copy to /usr/local/bin.
        root: The checkout.
        places: What stands for the containers' hosts, ports and folders; all data and logs are below its folder.
    """

    services: Mapping[str, dict[str, Any]]
    stages: Mapping[str, Stage]
    root: Path
    places: Places
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _ready: dict[str, Future[None]] = field(default_factory=dict)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(16))

    @property
    def folder(self) -> Path:
        return self.places.folder

    def up(self, *names: str) -> None:
        """Starts services that do not run yet, each after all that it depends on, and waits as its dependents would."""
        for ready in [self._bring(name) for name in names]:
            ready.result()

    def service(self, name: str) -> dict[str, Any]:
        """What the file says of a service; `name#2` is a second one of the same."""
        return self.services[name.partition("#")[0]]

    def command(self, name: str) -> list[str]:
        return [self.places.translate(name, word) for word in self.service(name)["command"]]

    def environment(self, name: str) -> dict[str, str]:
        """All that a process of the service sees: nothing of this process' own environment but where Java is."""
        given = self.service(name).get("environment", {})
        own = {key: self.places.translate(name, str(value)) for key, value in given.items()}
        java = {key: value for key, value in os.environ.items() if key == "JAVA_HOME"}
        path = f"{self.folder}/bin:{Path(sys.executable).parent}:{postgres_programs()}:/usr/bin:/bin"
        base = {"PATH": path, "HOME": str(self.folder), "LANG": "C.UTF-8", "TMPDIR": str(self.folder)}
        return base | java | own | self.places.brought(name.partition("#")[0])

    def run(self, name: str, command: list[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a command in the service's surroundings to its end."""
        done = subprocess.run(
            [*self._user(name), *command],
            env=self.environment(name),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=150,
        )
        assert done.returncode == 0 or not check, f"{name}: {command}: {done.stdout[-2000:]} {done.stderr[-4000:]}"
        return done

    def healthy(self, name: str) -> bool:
        """What the service's health check says now."""
        kind, *test = self.service(name)["healthcheck"]["test"]
        words = [self.places.translate(name, word) for word in test]
        return self.run(name, ["/bin/sh", "-c", *words] if kind == "CMD-SHELL" else words, check=False).returncode == 0

    def wait(self, name: str, *, seconds: float = 120) -> None:
        """Waits until the service is healthy; a service that ends, or takes too long, fails the test with its log."""
        deadline = time.monotonic() + seconds
        while not self.healthy(name):
            assert self.running[name].poll() is None, f"{name} ended: {self.tail(name)}"
            assert time.monotonic() < deadline, f"{name} is not healthy: {self.tail(name)}"
            time.sleep(0.2)

    def down(self, *, seconds: float = 3) -> None:
        """Stops what was started, the last first, and nothing else; the store alone would take 16 s to say goodbye."""
        self._pool.shutdown(cancel_futures=True)
        started = list(reversed(self.running.values()))
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in started:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, number)
            deadline = time.monotonic() + seconds
            for process in started:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
        for process in started:
            process.wait(10)
            process.stdin.close()
        for port in self.places.ports.values():
            for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108 - the store makes them there
                socket.unlink()
            for socket in Path("/tmp").glob(f"seaweedfs-*-{port + GRPC}.sock"):  # noqa: S108 - as above
                socket.unlink()

    def tail(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-4000:]

    def _bring(self, name: str) -> Future[None]:
        """What a service's readiness is waited for by; services that do not wait for one another start at once."""
        if name not in self._ready:
            needs = [self._bring(other) for other in self.service(name).get("depends_on", {})]
            self._ready[name] = self._pool.submit(self._bring_up, name, needs)
        return self._ready[name]

    def _bring_up(self, name: str, needs: list[Future[None]]) -> None:
        for ready in needs:
            ready.result()
        service = self.service(name)
        if name == "postgres":
            self._init_postgres()
        if "healthcheck" not in service:
            self.run(name, self.command(name))
            return
        self._start(name)
        self.wait(name)
        if name == "postgres":
            self._fill_postgres(service)

    def _start(self, name: str) -> None:
        """In a process group that ends when this process dies, however it dies."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, *self._user(name), *self.command(name)],
                env=self.environment(name),
                cwd=self.folder,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def mount(self) -> None:
        """Copies the mounted folders of the checkout to where they are mounted, and makes the volumes' folders."""
        for volume in (volume for service in self.services.values() for volume in service.get("volumes", ())):
            source, target, *_ = volume.split(":")
            place = Path(self.places.translate("", target))
            if place == Path(target) or target.startswith(INITDB):
                continue
            if source.startswith(".") and not place.exists():
                shutil.copytree(self.root / "docker" / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            place.mkdir(parents=True, exist_ok=True)

    def install(self) -> None:
        """Brings the programs that images copy to /usr/local/bin."""
        folder = self.folder / "bin"
        folder.mkdir()
        for copied in (copied for stage in self.stages.values() for copied in copies(stage)):
            if copied.target.startswith("/usr/local/bin/"):
                (folder / Path(copied.target).name).symlink_to(self.root / copied.sources[0])

    def _user(self, name: str) -> list[str]:
        """Postgres refuses root; its image gives root up as well."""
        if name != "postgres" or os.geteuid() != 0:
            return []
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]

    def _init_postgres(self) -> None:
        """The first half of the image's entry point: an empty database folder, a superuser with a password."""
        environment = self.environment("postgres")
        place = self.folder / "postgres"
        place.mkdir()
        secret = place / "password"
        secret.write_text(environment["POSTGRES_PASSWORD"])
        if os.geteuid() == 0:
            shutil.chown(place, "postgres", "postgres")
        user = environment["POSTGRES_USER"]
        options = environment["POSTGRES_INITDB_ARGS"].split()
        self.run("postgres", ["initdb", "--no-sync", f"--username={user}", f"--pwfile={secret}", *options])
        with (place / "data/postgresql.conf").open("a") as file:
            file.write("unix_socket_directories = ''\nfsync = off\n")

    def _fill_postgres(self, service: Mapping[str, Any]) -> None:
        """The second half: the scripts that are mounted for it."""
        password = f"PGPASSWORD={service['environment']['POSTGRES_PASSWORD']}"
        for source, target, *_ in (volume.split(":") for volume in service["volumes"]):
            if target.startswith(INITDB):
                self.run("postgres", ["env", password, "sh", str((self.root / "docker" / source).resolve())])


@contextlib.contextmanager
def natively(compose: dict[str, Any], stages: Mapping[str, Stage], root: Path) -> Iterator[Native]:
    """The services of a compose file on this machine; all that were started are gone afterwards."""
    postgres_programs()
    folder = Path(tempfile.mkdtemp(prefix="tally-native-"))
    folder.chmod(0o755)  # Postgres runs as another user
    native = Native(compose["services"], stages, root, Places(folder, free_ports()))
    native.install()
    native.mount()
    try:
        yield native
    finally:
        native.down()
        shutil.rmtree(folder, ignore_errors=True)
