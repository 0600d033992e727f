"""Who approves: a person whom Airflow, or a key of theirs, has authenticated.

A name on a command line is a claim of whoever typed it. It is recorded as one, and is no approval where the spec of a
version wants a person's. Two things are: an answer in Airflow, which the operator of the task hands to the step that
promotes (signed, where the spec names a key for the deployment), and a signature with a key that the spec names for an
approver. What is signed is the whole request, so that an answer is good for nothing else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import pwd
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from tallywright.errors import GateRefusedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ANSWER_VARIABLE: Final = "TALLYWRIGHT_ANSWER"
"""In the environment of the step that promotes: the answer that Airflow holds, as JSON."""
KEY_VARIABLE: Final = "TALLYWRIGHT_APPROVAL_KEY"
"""In the environment of Airflow's workers, not in that of steps: the file of the deployment's private key."""
STARTED_BY_VARIABLE: Final = "TALLYWRIGHT_STARTED_BY"
"""In the environment of the steps of a training: the user who triggered its run, as Airflow knows them."""
AIRFLOW: Final = "airflow"
"""The name of the deployment's key, and what an entry says of an approver whom Airflow knows."""
_PURPOSE: Final = "tallywright approval 1"


class Signed(Protocol):
    """What somebody signs."""

    @property
    def by(self) -> str:
        """Who signs."""

    @property
    def statement(self) -> bytes:
        """What is signed: all of it, and what it is meant for."""


@dataclass(frozen=True, slots=True)
class Request:
    """A promotion as it is asked for: what somebody approves of.

    Attributes:
        model: Name of the model.
        run_id: The run; empty where a person asks by hand.
        version: The registered version; None for the one that the run registered.
        effective_from: The first score date, as `YYYY-MM-DD`.
        by: The approver.
        reason: Why.
        answer: What they answer: that it is promoted, or rejected.
    """

    model: str
    run_id: str
    version: int | None
    effective_from: str
    by: str
    reason: str
    answer: str = "promote"

    @property
    def statement(self) -> bytes:
        """What is signed."""
        return json.dumps([_PURPOSE, asdict(self)], sort_keys=True).encode()


def answer(request: Request, environment: Mapping[str, str]) -> str:
    """What Airflow's operator hands to the step: who has answered which request, signed where there is a key.

    Args:
        request: What was answered; `by` is the user whom Airflow authenticated.
        environment: The operator's own.

    Raises:
        UsageError: The deployment's key cannot be read.
    """
    file = environment.get(KEY_VARIABLE, "")
    return json.dumps({"request": asdict(request), "signature": sign(request, Path(file)) if file else ""})


def sign(what: Signed, file: Path) -> str:
    """The signature of a statement with a private key.

    Raises:
        UsageError: The file holds no Ed25519 key, or one that is locked by a passphrase.
    """
    return base64.b64encode(_private(file).sign(what.statement)).decode()


def name_of_key(file: Path, keys: Mapping[str, str]) -> str:
    """The name that a spec gives to a private key; empty for a stranger's.

    Raises:
        UsageError: As `sign`.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = _private(file).public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return next((name for name, known in keys.items() if known.split()[:2] == public.split()[:2]), "")


def authentication(request: Request, keys: Mapping[str, str], *, signature: str, handed: str) -> str:
    """How the approver of a request is known; empty where the name is a mere claim.

    Args:
        request: As the step understands it.
        keys: The public keys that the spec names.
        signature: The approver's own; empty where there is none.
        handed: What Airflow's operator handed over; empty outside Airflow.

    Raises:
        GateRefusedError: What was handed over is about another request, or a signature is not by the key.
    """
    if signature:
        if request.by not in keys:
            raise _refused(f"registry.approver_keys has no key of {request.by!r}", keys)
        return f"key {verified(request, signature, keys[request.by])}"
    if not handed:
        return ""
    try:
        told: dict[str, Any] = json.loads(handed)
        same, signed = told["request"] == asdict(request), str(told["signature"])
    except (ValueError, KeyError, TypeError):
        same, signed = False, ""
    if not same:
        raise _refused("the answer that was handed over is about another promotion than this one", keys)
    if AIRFLOW not in keys:
        return AIRFLOW
    if not signed:
        raise _refused(f"the answer is not signed, and registry.approver_keys names a key of {AIRFLOW}", keys)
    return f"{AIRFLOW}, key {verified(request, signed, keys[AIRFLOW])}"


def handed_over() -> str:
    """What Airflow's operator handed to this process; empty outside Airflow."""
    return os.environ.get(ANSWER_VARIABLE, "")


def started_by() -> str:
    """Who started the training that this process is a step of: the user of Airflow, else of the system."""
    return os.environ.get(STARTED_BY_VARIABLE, "").strip() or system_user()


def system_user() -> str:
    """The user whose process this is, as the system knows them; no variable of the environment says otherwise."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def verified(what: Signed, signature: str, public: str) -> str:
    """The fingerprint of the key that has signed a statement.

    Raises:
        GateRefusedError: Another key has, or nobody, or another statement was signed.
    """
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    try:
        key = load_ssh_public_key(public.encode())
        if not isinstance(key, Ed25519PublicKey):
            raise _refused("the key that the spec names is no Ed25519 key", {})
        key.verify(base64.b64decode(signature, validate=True), what.statement)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, binascii.Error) as error:
        raise _refused(f"the signature for {what.by!r} is not by the key that the spec names", {}) from error
    blob = base64.b64decode(public.split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _private(file: Path) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    try:
        key = load_ssh_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _unusable(file, type(error).__name__) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _unusable(file, "another kind of key")
    return key


def _refused(found: str, keys: Mapping[str, str]) -> GateRefusedError:
    return GateRefusedError(
        found,
        expected=f"an approval by {', '.join(sorted(keys))}" if keys else "an approval of this very request",
        remedy="let the approver answer in Airflow, or sign with the key that the spec names: --key FILE",
    )


def _unusable(file: Path, why: str) -> UsageError:
    return UsageError(
        f"the key {file} cannot be used: {why}",
        expected="an Ed25519 private key in OpenSSH's form, without a passphrase",
        remedy="make one: ssh-keygen -t ed25519 -N '' -f FILE; its public half stands in registry.approver_keys",
    )
