"""Arrow's filesystem of an address: files are read and written natively, local or on an object store.

The options are those of delta-rs, so that one set of them reaches tables and files alike. Nothing here makes a bucket.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from pyarrow import fs

from tallywright.data.storage.options import (
    ACCESS_KEY,
    ALLOW_HTTP,
    ENDPOINT,
    REGION,
    SECRET_KEY,
    SESSION_TOKEN,
    VIRTUAL_HOST,
    is_s3,
    is_true,
    option,
)
from tallywright.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONNECT_SECONDS: Final = 5.0
_STALL_SECONDS: Final = 7.0
_ATTEMPTS: Final = 3
_DEFAULT_REGION: Final = "us-east-1"
"""What delta-rs takes when no region is given; stores of one's own do not care."""


def is_disk(path: str) -> bool:
    """True for a path of a filesystem, False for the `scheme://` address of a store."""
    return "://" not in path


def filesystem_of(path: str, options: Mapping[str, str]) -> tuple[fs.FileSystem, str]:
    """The filesystem of an absolute path or `scheme://` address, and the path inside it.

    Args:
        path: Local path or address.
        options: delta-rs' options; credentials that are missing come from the environment, as AWS' tools find them.

    Raises:
        SpecError: Options that do not fit together.
    """
    if is_disk(path):
        return fs.LocalFileSystem(), path
    if not is_s3(path):
        filesystem, inner = fs.FileSystem.from_uri(path)
        return filesystem, inner
    return _s3(**_arguments(options)), path.partition("://")[2]


@lru_cache(maxsize=8)
def _s3(**arguments: Any) -> fs.S3FileSystem:
    """One client for all files: it keeps its connections, and Arrow closes it when the process ends."""
    return fs.S3FileSystem(
        connect_timeout=_CONNECT_SECONDS,
        request_timeout=_STALL_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        **arguments,
    )


def _arguments(options: Mapping[str, str]) -> dict[str, Any]:
    arguments: dict[str, Any] = {"region": option(options, REGION) or _DEFAULT_REGION}
    key, secret = option(options, ACCESS_KEY), option(options, SECRET_KEY)
    if bool(key) != bool(secret):
        raise SpecError(
            f"the object store's credentials lack {SECRET_KEY[0].upper() if key else ACCESS_KEY[0].upper()}",
            expected="both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or neither",
            remedy="set it in storage.options of the overlay, or in the environment",
        )
    if key:
        arguments |= {"access_key": key, "secret_key": secret, "session_token": option(options, SESSION_TOKEN)}
    return arguments | _endpoint(options)


def _endpoint(options: Mapping[str, str]) -> dict[str, Any]:
    endpoint = option(options, ENDPOINT)
    if not endpoint:
        return {}
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
        raise SpecError(
            "AWS_ENDPOINT_URL is not the address of a store",
            expected="https://host or http://host:port, without a path",
        )
    if parts.scheme == "http" and not is_true(option(options, ALLOW_HTTP)):
        raise SpecError(
            f"AWS_ENDPOINT_URL {endpoint} has no TLS",
            expected="https://…, or AWS_ALLOW_HTTP=true next to it",
            remedy="set AWS_ALLOW_HTTP in storage.options if the store really has no TLS",
        )
    virtual = is_true(option(options, VIRTUAL_HOST))
    return {"endpoint_override": parts.netloc, "scheme": parts.scheme, "force_virtual_addressing": virtual}
