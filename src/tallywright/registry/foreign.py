"""Models of an MLflow registry that Tallywright has not made: files of a version are fetched, and none is loaded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tallywright.errors import TrackingError, UsageError
from tallywright.mlflow_client import TrackingGoneError, mlflow_client

if TYPE_CHECKING:
    from tallywright.spec import Project

_ADDRESS: Final = re.compile(r"models:/(?P<name>[^/@:]+)(?:/(?P<version>[0-9]{1,9})|@(?P<alias>[A-Za-z0-9_-]+))")


def version_address(project: Project, address: str) -> str:
    """The address of a version by its number: `models:/name/3`.

    Raises:
        UsageError: It is no such address, or MLflow has no such version.
        TrackingError: MLflow is away.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise UsageError(
            f"{address[:200]!r} is no address of a model version",
            expected="models:/NAME/VERSION or models:/NAME@ALIAS, in the registry of conf/<env>.yaml",
        )
    uri, name, version, alias = project.environment.tracking.address, *found.group("name", "version", "alias")
    try:
        with mlflow_client(uri) as client:
            if version is None:
                number = client.get_model_version_by_alias(name, alias).version
            else:
                number = client.get_model_version(name, version).version
    except TrackingError as error:
        _require_there(uri, name, version or alias, error)
        raise
    return f"models:/{name}/{number}"


def _require_there(uri: str, name: str, asked: str, error: TrackingError) -> None:
    """Says what there is, where MLflow answers and has no such version or alias.

    Raises:
        UsageError: It has none.
        TrackingError: MLflow is away.
    """
    try:
        with mlflow_client(uri) as client:
            aliases = client.get_registered_model(name).aliases
            quote = '"' if "'" in name else "'"
            versions = [one.version for one in client.search_model_versions(f"name = {quote}{name}{quote}")]
    except TrackingGoneError as gone:
        raise UsageError(
            f"the registry has no model {name}",
            expected="models:/NAME/VERSION or models:/NAME@ALIAS of a model in the registry of conf/<env>.yaml",
        ) from gone
    if asked in {*map(str, versions), *aliases}:
        return
    numbers = ", ".join(map(str, sorted(map(int, versions)))) or "none"
    raise UsageError(
        f"the registry has no version or alias {asked} of {name}",
        expected=f"one of the versions {numbers}, or of the aliases {', '.join(sorted(aliases)) or 'none'}",
    ) from error


def fetch_file(project: Project, address: str, path: str, into: Path) -> Path:
    """Downloads a file of a version, or its whole folder with an empty path.

    Raises:
        TrackingError: MLflow is away, or has no such file.
    """
    uri = project.environment.tracking.address
    name, _, number = address.removeprefix("models:/").partition("/")
    with mlflow_client(uri) as client:
        from mlflow.artifacts import download_artifacts

        # `models:/` itself is looked up in the registry of the process, whatever address is given.
        folder = client.get_model_version_download_uri(name, number).rstrip("/")
        whole = f"{folder}/{path}" if path else folder
        return Path(download_artifacts(artifact_uri=whole, dst_path=str(into), tracking_uri=uri, registry_uri=uri))
