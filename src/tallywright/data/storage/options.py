"""Options of an object store: delta-rs' names and defaults, what this project adds, and what it refuses.

Values never show in a representation, because some of them are secrets.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from tallywright.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ACCESS_KEY: Final = ("aws_access_key_id", "access_key_id")
SECRET_KEY: Final = ("aws_secret_access_key", "secret_access_key")
SESSION_TOKEN: Final = ("aws_session_token", "aws_token", "session_token", "token")
REGION: Final = ("aws_region", "region", "aws_default_region", "default_region")
ENDPOINT: Final = ("aws_endpoint_url", "aws_endpoint", "endpoint_url", "endpoint", "aws_endpoint_url_s3")
ALLOW_HTTP: Final = ("aws_allow_http", "allow_http")
VIRTUAL_HOST: Final = ("aws_virtual_hosted_style_request", "virtual_hosted_style_request")
_IDENTITY: Final = (ACCESS_KEY, SECRET_KEY, SESSION_TOKEN)
CREDENTIALS: Final = (*ACCESS_KEY, *SECRET_KEY, *SESSION_TOKEN)
"""The options that are secrets (or belong to one)."""

_CONDITIONAL_PUT: Final = ("aws_conditional_put", "conditional_put")
_LOCK: Final = ("aws_s3_locking_provider", "s3_locking_provider")
_UNSAFE: Final = ("aws_s3_allow_unsafe_rename", "allow_unsafe_rename", "s3_allow_unsafe_rename")
_PATIENCE: Final = {"connect_timeout": "5s", "timeout": "20s", "max_retries": "3", "retry_timeout": "15s"}
"""A store that is away fails the step in half a minute; trying again for longer is the orchestrator's business."""


class StoreOptions(dict[str, str]):
    """Options by name as delta-rs takes them; shows names only."""

    def __repr__(self) -> str:
        return f"StoreOptions({', '.join(sorted(self)) or 'none'})"

    __str__ = __repr__


def is_s3(address: str) -> bool:
    """True for an address on S3, or on a store that speaks its protocol."""
    return address.startswith(("s3://", "s3a://"))


def store_options(root: str, given: Mapping[str, str]) -> StoreOptions:
    """The options for every table below `root`: as given, plus commits by conditional put and bounded patience on S3.

    Raises:
        SpecError: An option under which two writers could overwrite each other's commits.
    """
    options = StoreOptions(given)
    if not is_s3(root):
        return options
    _require_safe_commits(options)
    known = {name.lower() for name in options}
    if option(options, _LOCK) is None and not known & set(_CONDITIONAL_PUT):
        options["aws_conditional_put"] = "etag"
    for name, value in _PATIENCE.items():
        if name not in known:
            options[name] = value
    return options


def with_process_options(root: str, options: Mapping[str, str]) -> StoreOptions:
    """Adds the store's variables of this process's environment, for workers whose environment is another.

    Where neither has credentials they stay without: each machine then finds its own, such as its instance's role.
    """
    found = StoreOptions(options)
    if is_s3(root):
        for names in (*_IDENTITY, REGION, ENDPOINT, ALLOW_HTTP, VIRTUAL_HOST):
            value = option(options, names)
            if value and not {name.lower() for name in options} & set(names):
                found[names[0]] = value
    return found


def option(options: Mapping[str, str], names: Sequence[str]) -> str | None:
    """The value of an option under any of its names, else of the environment variable; None when neither is set."""
    given = {name.lower(): value for name, value in options.items()}
    for name in names:
        if given.get(name):
            return given[name]
    for name in names:
        found = os.environ.get(name.upper()) if name.startswith("aws_") else None
        if found:
            return found
    return None


def is_true(value: str | None) -> bool:
    """How object stores read a truth value."""
    return (value or "").strip().lower() in {"1", "true", "on", "yes", "y"}


def _require_safe_commits(options: Mapping[str, str]) -> None:
    unsafe = is_true(option(options, _UNSAFE))
    disabled = (option(options, _CONDITIONAL_PUT) or "").strip().lower() == "disabled"
    if unsafe or disabled:
        name = (_UNSAFE if unsafe else _CONDITIONAL_PUT)[0].upper()
        raise SpecError(
            f"storage.options allow commits that overwrite one another: {name}",
            expected="commits by conditional put (the default), or a lock: AWS_S3_LOCKING_PROVIDER=dynamodb",
            remedy="take that option out of the overlay (or the environment); `tally doctor` tries the store",
        )
