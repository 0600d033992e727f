"""The one door to MLflow's registry: a client for the project's store, and its failures as errors with a remedy."""

from __future__ import annotations

import logging
import os
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import TallyError, TrackingError
from tallywright.observability import without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallywright.spec import Environment

_LAYERS: Final = frozenset({"mlflow", "sqlalchemy", "alembic", "requests", "urllib3", "sqlite3"})

_SQLITE: Final = "sqlite:///"
_QUIET: Final = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
_PATIENCE: Final = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""A server that is away fails the step in a minute; trying again for longer is the orchestrator's business."""


@contextmanager
def tracking_client(environment: Environment) -> Iterator[Any]:
    """An `MlflowClient` for the environment's store; what MLflow raises inside the block comes out as TrackingError.

    Raises:
        TrackingError: MLflow is not installed, cannot be reached, or does not hold what was asked for.
    """
    uri = environment.tracking.uri
    for name, value in (_QUIET | _PATIENCE).items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        # MLflow uses deprecated loader options of SQLAlchemy and leaves a log handle open while it migrates SQLite.
        warnings.simplefilter("ignore")
        client_class = _client_class()
        try:
            _prepare(uri)
            yield client_class(tracking_uri=uri, registry_uri=uri)
        except TallyError:
            raise
        except Exception as error:
            if not _is_from_tracking(error):
                raise
            raise TrackingError(
                f"MLflow at {without_credentials(uri)} refused or cannot be reached: {_first_line(error)}",
                expected="a running MLflow server, or a store that this user may write",
                remedy="check environment.tracking.uri in conf/, then `tally doctor`",
            ) from error


def _prepare(uri: str) -> None:
    """A folder for a new SQLite store, and no word about each of its migrations."""
    if uri.startswith(_SQLITE):
        Path(uri.removeprefix(_SQLITE)).parent.mkdir(parents=True, exist_ok=True)
    for chatty in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _client_class() -> Any:
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise TrackingError(
            f"MLflow is not installed here: {error}",
            expected="the package mlflow, for registering, fetching and promoting versions",
            remedy="pip install 'tallywright[train]'",
        ) from error
    return MlflowClient


def _is_from_tracking(error: Exception) -> bool:
    """MLflow's own errors, those of its database layer and of its HTTP client, and of the disk below a local store."""
    return type(error).__module__.partition(".")[0] in _LAYERS or isinstance(error, OSError)


def _first_line(error: Exception) -> str:
    return without_credentials((str(error).strip().splitlines() or [type(error).__name__])[0][:300])
