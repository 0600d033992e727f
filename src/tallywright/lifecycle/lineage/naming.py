"""Names of jobs, runs and datasets by OpenLineage's rules; the same run has the same id wherever it is told of."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

_RUNS: Final = uuid.UUID("5f1c7c0e-3f8a-5d63-9a3e-6f0f5f0c9d21")
"""The space of the ids that are made here."""
_MLFLOW_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Name:
    """The namespace of a dataset or a job, and its name within it."""

    namespace: str
    name: str


def run_id_of(*key: str) -> str:
    """The id of a run: a UUID that follows from its key alone."""
    return str(uuid.uuid5(_RUNS, json.dumps(key)))


def file_name(address: str) -> Name:
    """A file or folder: of this machine by its path, in an object store by bucket and key."""
    scheme, found, rest = address.partition("://")
    if not found or scheme == "file":
        return Name("file", rest if found else address)
    bucket, _, key = rest.partition("/")
    return Name(f"{'s3' if scheme == 's3a' else scheme}://{bucket}", key.strip("/") or "/")


def model_name(tracking: str, name: str, *, kind: str = "models") -> Name:
    """A registered model (or its candidates), by the server or the store that holds the registry; never with a user.

    Args:
        tracking: Address of the tracking server or store.
        name: In the registry.
        kind: `models`, or `candidates` for packages that are no versions yet.
    """
    parts = urlsplit(tracking)
    if not parts.hostname:  # a store of this machine, such as sqlite:///FILE, whose path may hold `#` and `?`
        path = tracking.partition("://")[2] or tracking
        return Name("file", f"{path.replace('//', '/')}/{kind}/{name}")
    port = parts.port or _MLFLOW_PORTS.get(parts.scheme)
    inside = parts.path.strip("/")
    return Name(
        f"mlflow://{parts.hostname}" + (f":{port}" if port else ""), f"{inside}/{kind}/{name}".removeprefix("/")
    )
