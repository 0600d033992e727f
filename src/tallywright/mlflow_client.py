"""MLflow clients for tracking and registry, with their failures as TrackingErrors."""

from __future__ import annotations

import logging
import os
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import TallyError, TrackingError, first_line
from tallywright.records import digest_of
from tallywright.redaction import without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator

LAKE_TAG: Final = "tallywright.lake"
"""The tag of a run that holds the digest of its lake's address; runs of the time before have none."""
_LAYERS: Final = frozenset({"mlflow", "sqlalchemy", "alembic", "requests", "urllib3", "sqlite3"})
_SQLITE: Final = "sqlite:///"
_GONE: Final = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_STATE"})
"""Codes by which MLflow says that a thing is not there, or deleted: asking again does not bring it back."""
_DRIVERS: Final = {
    "postgresql": ("postgresql+psycopg2://USER@HOST/DATABASE", "servers"),
    "postgres": ("postgresql+psycopg2://USER@HOST/DATABASE", "servers"),
    "mysql": ("mysql+pymysql://USER@HOST/DATABASE", ""),
    "mssql": ("mssql+pymssql://USER@HOST/DATABASE", ""),
}
"""Databases that MLflow can keep its records in: the form of the address whose driver is known to work, and the extra
that brings it; none does where that is empty."""
_REFUSED: Final = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED"})
"""Codes by which a server says that whoever asks is not known to it, or may not do this."""
_QUIET: Final = "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"
_DEFAULTS: Final = {
    # Nothing about a run leaves the machine unasked.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # A server that is away fails the step in a minute; trying again for longer is the orchestrator's business.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    # Standard output belongs to results, standard error to log lines.
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    _QUIET: "true",
}


class TrackingGoneError(TrackingError):
    """What MLflow does not hold, or holds as deleted, and a store that cannot be used as it is addressed."""

    retryable = False


class TrackingRefusedError(TrackingError):
    """A server that does not know whoever asks, or does not let them do this."""

    retryable = False


def connect(uri: str) -> Any:
    """An `MlflowClient` of the store; a new SQLite store is made with its folder.

    Credentials in the address win over MLFLOW_TRACKING_USERNAME and _PASSWORD, which are the process's: so a process
    that talks to two servers tells each its own.

    Raises:
        TrackingError: MLflow is not installed or its store cannot be used.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    if "@" in uri:
        os.environ[_QUIET] = "true"  # it would print the address as it is
    # The first connection to a new database would otherwise print each of its migrations.
    for logger in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise TrackingError(
            f"MLflow cannot be imported: {error}",
            expected="the package mlflow, for training, registering, fetching and promoting versions",
            remedy="pip install 'tallywright[train]'",
        ) from error
    with mlflow_errors(uri, "connect"):
        if uri.startswith(_SQLITE):
            Path(uri.removeprefix(_SQLITE)).parent.mkdir(parents=True, exist_ok=True)
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


def lake_digest(lake: str) -> str:
    """The digest of a lake's address: runs carry it as `LAKE_TAG`, so that those of one lake can be found."""
    return digest_of(lake if "://" in lake else str(Path(lake).absolute()))


@contextmanager
def mlflow_errors(uri: str, doing: str) -> Iterator[None]:
    """Raises a TrackingError for what MLflow (or the database, HTTP client or disk below it) raises in the block.

    Args:
        uri: The store, for the text.
        doing: What could not be done, as in "MLflow could not …".
    """
    with warnings.catch_warnings():
        # MLflow uses deprecated loader options of SQLAlchemy and leaves a log handle open while it migrates SQLite.
        warnings.simplefilter("ignore")
        try:
            yield
        except TallyError:
            raise
        except ImportError as error:
            raise _no_driver(uri, error) from error
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in _LAYERS and not isinstance(error, OSError):
                raise
            if type(error).__name__ == "NoSuchModuleError" or "unsupported URI" in str(error):
                raise _no_driver(uri, error) from error
            if _is_refused(error):
                raise _refused(uri, doing, error) from error
            kind = TrackingGoneError if getattr(error, "error_code", "") in _GONE else TrackingError
            raise kind(
                f"MLflow at {without_credentials(uri)} could not {doing}: {first_line(error)}",
                expected="a tracking store or server that can be reached and written",
                remedy="check `tracking` in the environment overlay (conf/<env>.yaml) and `tally doctor`; if the run "
                "holds other parameters, use a new run id",
            ) from error


def _is_refused(error: Exception) -> bool:
    status = getattr(getattr(error, "response", None), "status_code", 0)
    return getattr(error, "error_code", "") in _REFUSED or status in (401, 403)


def _refused(uri: str, doing: str, error: Exception) -> TrackingRefusedError:
    return TrackingRefusedError(
        f"MLflow at {without_credentials(uri)} refuses to {doing}: {first_line(error)}",
        expected="credentials of that server which allow it",
        remedy="check tracking.username and tracking.password in conf/<env>.yaml, or MLFLOW_TRACKING_USERNAME and "
        "_PASSWORD, where that environment's commands run; `tally doctor` tries them",
    )


def _no_driver(uri: str, error: Exception) -> TrackingGoneError:
    """A store whose address asks for a package that is not installed."""
    scheme = uri.partition("://")[0]
    form, extra = _DRIVERS.get(scheme.partition("+")[0], ("", ""))
    written = f"write tracking.uri as {form or 'an address of such a form'} in conf/<env>.yaml"
    install = f"pip install 'tallywright[{extra}]'" if extra else "install its driver" if form else ""
    return TrackingGoneError(
        f"MLflow at {without_credentials(uri)} cannot be used: {first_line(error)}",
        expected="a store whose driver is installed: sqlite:///FILE, http(s)://HOST, or postgresql+psycopg2://…",
        remedy=f"{written}{', and ' if install else ''}{install}",
    )


@contextmanager
def mlflow_client(uri: str) -> Iterator[Any]:
    """Yields a client; its failures inside the block become TrackingErrors.

    Raises:
        TrackingError: As `connect`, or whatever MLflow raised.
    """
    client = connect(uri)
    with mlflow_errors(uri, "answer"):
        yield client
