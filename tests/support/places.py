"""What stands on this machine for the containers' hosts, ports and folders: the only liberties a native run takes."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = "127.0.0.1"
GRPC = 10_000
"""The store's programs listen on their port, and with gRPC on the port that is so much higher."""
PORTS = (
    *("postgres", "store", "master", "volume", "filer", "mlflow", "airflow", "scheduler"),
    *("spark", "spark_ui", "worker", "worker_ui", "worker2", "worker2_ui"),
)


def free_ports(names: tuple[str, ...] = PORTS) -> dict[str, int]:
    """Loopback ports by name that are free, as are those so much higher; all are held until the last is found.

    Both lie below the ports that the system hands out, which another process might take in between.
    """
    found: list[int] = []
    with contextlib.ExitStack() as held:
        for port in range(11_000 + os.getpid() % 1_000 * 10, 22_700):
            try:
                for number in (port, port + GRPC):
                    held.enter_context(socket.socket()).bind((HERE, number))
            except OSError:
                continue
            found.append(port)
            if len(found) == len(names):
                return dict(zip(names, found, strict=True))
    raise AssertionError("no free ports")


@dataclass(frozen=True)
class Places:
    """The translation. A text of letters and digits alone stands for a whole word, any other for a part of one."""

    folder: Path
    ports: Mapping[str, int]

    def network(self) -> dict[str, str]:
        """Addresses that the containers' name server resolves."""
        port = self.ports
        return {
            "@postgres:5432/": f"@{HERE}:{port['postgres']}/",
            "http://store:8333": f"http://{HERE}:{port['store']}",
            "http://mlflow:5000": f"http://{HERE}:{port['mlflow']}",
            "http://airflow-api:8080": f"http://{HERE}:{port['airflow']}",
            '"spark://spark-master", "port": 7077': f'"spark://{HERE}", "port": {port["spark"]}',
            "spark://spark-master:7077": f"spark://{HERE}:{port['spark']}",
        }

    def folders(self) -> dict[str, str]:
        """Folders that containers mount or have to themselves."""
        return {
            "/opt/project": f"{self.folder}/project",
            "/var/lib/airflow": f"{self.folder}/airflow",
            "/var/lib/store": f"{self.folder}/store",
            "/tmp/spark-work": f"{self.folder}/spark-work",  # noqa: S108 - the container's own
        }

    def listening(self) -> dict[str, dict[str, str]]:
        """By service: where it listens, in the words of its command and of its health check."""
        port = self.ports
        return {
            "postgres": {"--port 5432": f"--port {port['postgres']}"},
            "store": {
                "-master.port=9333": f"-master.port={port['master']}",
                "-volume.port=9340": f"-volume.port={port['volume']}",
                "-filer.port=8888": f"-filer.port={port['filer']}",
                "-s3.ip.bind=0.0.0.0": f"-s3.ip.bind={HERE}",
                "-s3.port=8333": f"-s3.port={port['store']}",
                f"http://{HERE}:8333/": f"http://{HERE}:{port['store']}/",
            },
            "mlflow": {
                "--host=0.0.0.0": f"--host={HERE}",
                "--port=5000": f"--port={port['mlflow']}",
                f"http://{HERE}:5000/": f"http://{HERE}:{port['mlflow']}/",
            },
            "spark-master": {
                "spark-master": HERE,
                "7077": str(port["spark"]),
                "8080": str(port["spark_ui"]),
                f"http://{HERE}:8080/": f"http://{HERE}:{port['spark_ui']}/",
            },
            "spark-worker": self._worker("worker"),
            "spark-worker#2": self._worker("worker2"),
            "airflow-api": {
                "--host=0.0.0.0": f"--host={HERE}",
                "--port=8080": f"--port={port['airflow']}",
                f"http://{HERE}:8080/": f"http://{HERE}:{port['airflow']}/",
            },
            "airflow-scheduler": {
                "8974": str(port["scheduler"]),
                f"http://{HERE}:8974/": f"http://{HERE}:{port['scheduler']}/",
            },
        }

    def brought(self, service: str) -> dict[str, str]:
        """Variables that an image or a container's network brings and this machine does not."""
        if service.startswith("spark"):
            return {"SPARK_LOCAL_IP": HERE}
        if service.startswith("airflow"):
            own = {"AIRFLOW_HOME": f"{self.folder}/airflow", "TALLYWRIGHT_HOME": f"{self.folder}/tallywright"}
            return own | {"TALLYWRIGHT_PYTHON": sys.executable, "SPARK_LOCAL_IP": HERE}
        port = {name: str(number) for name, number in self.ports.items()}
        return {
            "postgres": {"PGDATA": f"{self.folder}/postgres/data", "PGPORT": port["postgres"], "PGHOST": HERE},
            "store-buckets": {"STORE_MASTER_PORT": port["master"], "STORE_FILER_PORT": port["filer"]},
        }.get(service, {})

    def translate(self, service: str, text: str, used: set[str] | None = None) -> str:
        """A word of a command or of a health check, or a value of the environment, as it has to be here."""
        for old, new in (self.listening().get(service, {}) | self.network() | self.folders()).items():
            whole = old.replace("-", "").isalnum()
            if text == old if whole else old in text:
                text = new if whole else text.replace(old, new)
                if used is not None:
                    used.add(old)
        return text

    def _worker(self, name: str) -> dict[str, str]:
        return {
            "7078": str(self.ports[name]),
            "8081": str(self.ports[f"{name}_ui"]),
            f"http://{HERE}:8081/": f"http://{HERE}:{self.ports[f'{name}_ui']}/",
        }
