"""Errors of an object store in one line, with a remedy.

delta-rs prints a coloured tree of causes with the store's XML at its end, Arrow one long line with AWS' error code.
"""

from __future__ import annotations

import re
from typing import Final

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_XML: Final = re.compile(r"<Code>(?P<code>[^<]*)</Code>(?:.*?<Message>(?P<message>[^<]*)</Message>)?", re.DOTALL)
_AWS: Final = re.compile(r"AWS Error (?P<code>\w+) during \w+ operation: (?P<message>[^(]*)")
_BRANCH: Final = "↳"
_LONGEST: Final = 500

_NO_BUCKET: Final = re.compile(r"NoSuchBucket|NO_SUCH_BUCKET|^no bucket ", re.MULTILINE)
_DENIED: Final = re.compile(
    r"InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|ExpiredToken|InvalidToken|40[13] (Forbidden|Unauthorized)"
    r"|lacked the necessary privileges|(ACCESS|KEY)_DENIED|SIGNATURE_DOES_NOT_MATCH|INVALID_ACCESS_KEY_ID|EXPIRED_TOKEN"
    r"|[Cc]redentials? (provider|were|was|not)|no providers in chain"
)
_NO_TLS: Final = re.compile(r"URL scheme is not allowed")
_UNREACHABLE: Final = re.compile(
    r"error sending request|NETWORK_CONNECTION|operation timed out|curlCode", re.IGNORECASE
)
_REMEDIES: Final = {
    _NO_BUCKET: "make the bucket (Tallywright makes none), or correct storage.lake in the overlay",
    _DENIED: "check the store's credentials (storage.options, storage.connection or AWS_* in the environment), and "
    "that they may list, read, write and delete there",
    _NO_TLS: "set AWS_ALLOW_HTTP=true in storage.options for a store without TLS, or give an https:// AWS_ENDPOINT_URL",
    _UNREACHABLE: "check AWS_ENDPOINT_URL, the network and the store, then run the same command again",
}


def cause_of(error: BaseException) -> str:
    """The cause in one line without colours: the store's own code and message where it sent them."""
    text = _COLOUR.sub("", str(error)).strip() or type(error).__name__
    match = _XML.search(text) or _AWS.search(text)
    if match:
        return f"{match['code']}: {(match['message'] or '').strip()}".rstrip(": ")[:_LONGEST]
    lines = [line.strip().removeprefix(_BRANCH).strip() for line in text.splitlines()]
    first, last = lines[0], lines[-1]
    shown = f"{first}: {last}" if _BRANCH in text and last != first else first
    return shown[:_LONGEST]


def store_remedy(error: BaseException) -> str:
    """The remedy for an error of an object store; empty for any other error."""
    text = str(error)
    return next((remedy for pattern, remedy in _REMEDIES.items() if pattern.search(text)), "")
