"""The object store's credentials from an Airflow connection, as environment variables of one step's process.

They are fetched when the step starts and live in that process' environment alone: not on the command line, not in the
DAG, not in XCom, and taken out of what the step prints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException

from tallywright.redaction import without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CREDENTIAL_VARIABLES: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")
"""What the worker's own environment must not add to a connection's credentials."""

SECRET_VARIABLES: Final = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

_EXTRAS: Final = {
    "aws_session_token": "AWS_SESSION_TOKEN",
    "region_name": "AWS_REGION",
    "endpoint_url": "AWS_ENDPOINT_URL",
    "allow_http": "AWS_ALLOW_HTTP",
}
_OTHER_IDENTITIES: Final = frozenset(
    {"assume_role_method", "aws_account_id", "aws_iam_role", "profile_name", "role_arn"}
)


def with_credentials(environment: Mapping[str, str], connection_id: str) -> dict[str, str]:
    """The environment of a step with the connection's credentials instead of the worker's; unchanged without one.

    Raises:
        AirflowFailException: No such connection, or one that does not hold the keys of an S3-compatible store.
    """
    if not connection_id:
        return dict(environment)
    kept = {name: value for name, value in environment.items() if name not in CREDENTIAL_VARIABLES}
    return kept | _variables(_connection(connection_id), connection_id)


def without_secrets(line: str, environment: Mapping[str, str], others: Iterable[str] = ()) -> str:
    """Removes the secrets of a step's environment, and others, from a line, as a library may print them."""
    for secret in (*(environment.get(name, "") for name in SECRET_VARIABLES), *others):
        if secret:
            line = line.replace(secret, "***")
    return without_credentials(line)


def _connection(connection_id: str) -> Any:
    try:
        return Connection.get(connection_id)
    except AirflowNotFoundException as error:
        raise AirflowFailException(
            f"there is no Airflow connection {connection_id!r}, the overlay's storage.connection; expected: type aws, "
            "login = access key id, password = secret key (Airflow UI, a secrets backend or "
            f"AIRFLOW_CONN_{connection_id.upper()})"
        ) from error


def _variables(connection: Any, connection_id: str) -> dict[str, str]:
    extra = connection.extra_dejson
    foreign = sorted(_OTHER_IDENTITIES & {name for name, value in extra.items() if value})
    if connection.conn_type != "aws" or not connection.login or not connection.password or foreign:
        found = f"type {connection.conn_type!r}" + (f" and extra {', '.join(foreign)}" if foreign else "")
        raise AirflowFailException(
            f"storage.connection {connection_id!r} has {found}; expected: type aws, login = access key id, password = "
            f"secret key, and in extra at most {', '.join(_EXTRAS)}"
        )
    keys = {"AWS_ACCESS_KEY_ID": str(connection.login), "AWS_SECRET_ACCESS_KEY": str(connection.password)}
    return keys | {variable: _text(extra[name]) for name, variable in _EXTRAS.items() if extra.get(name)}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
