"""Makes texts fit to be seen, in errors, log lines, pages, on a terminal: without secrets, and without effects.

Secrets are found in two ways, since neither sees all. Forms: the user part and the query of an address, and values
after names such as `password=`. And knowledge: what the environment's overlay gives as a secret is kept, and is taken
out of every text in whatever form a library repeats it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote, quote_plus, unquote, unquote_plus

HIDDEN: Final = "***"
_SHORTEST: Final = 6
"""A secret that is shorter stands in too many words to be taken out of them."""
_NAME: Final = r"(?:passwo?r?d|pwd|passphrase|secret|token|credential|signature|(?:api|access|account).?key)"
SECRET_NAME: Final = re.compile(rf"{_NAME}|(?:^|[._-])(?:key|pass|sas|sig)s?$", re.IGNORECASE)
"""Names of settings that hold a secret."""
_ADDRESS: Final = re.compile(r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]*://)(?P<rest>[^\s'\"<>`]+)")
_QUERY: Final = re.compile(r"(?P<name>[?&;#][^=&;#\s]*=)[^&;#\s]*")
_PAIR: Final = re.compile(
    rf"(?P<name>[\w.-]*{_NAME}[\w.-]*(?:=|[\"']\s*:\s*))(?P<value>\"[^\"]*\"|'[^']*'|[^\s,;&'\"]+)", re.IGNORECASE
)
_ACTING: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\u115f\u1160\u3164\uffa0\U000e0000-\U000e0fff]"
)
"""Characters that a terminal or a browser obeys instead of showing: controls, directions, invisible ones."""
_known: set[str] = set()


def without_credentials(text: str) -> str:
    """The text without what is known or looks to be a secret; the rest of an address stays."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _ADDRESS.sub(_plain_address, text)
    return _PAIR.sub(_hidden_value, text)


def visible(text: str) -> str:
    r"""The text with the characters that would act instead of being seen written as escapes, such as `\u202e`."""
    # JSON's own form: a text of JSON stays one, and says the same.
    return _ACTING.sub(lambda found: _escaped(found[0]), text)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))


def keep_secrets(values: Any, name: str = "") -> None:
    """Remembers the secrets in the values of a file or of a section: by their names, and those in addresses.

    Args:
        values: Mappings, lists and scalars, as they were read.
        name: The name under which they stand.
    """
    if isinstance(values, Mapping):
        for key, value in values.items():
            keep_secrets(value, str(key))
    elif isinstance(values, str | int | float) and not isinstance(values, bool):
        text = str(values)
        if text.startswith("--"):  # an option as on a command line
            name, _, text = text.partition("=")
        if SECRET_NAME.search(name) and "://" not in text:
            _keep([text])
        _keep(_secrets_in(text))
    elif isinstance(values, Iterable):
        for value in values:
            keep_secrets(value, name)


def _keep(secrets: Iterable[str]) -> None:
    for secret in secrets:
        for form in {secret, unquote(secret), unquote_plus(secret), quote(secret, safe=""), quote_plus(secret)}:
            shown = (form, repr(form)[1:-1], *(json.dumps(form, ensure_ascii=plain)[1:-1] for plain in (True, False)))
            _known.update(one for one in shown if len(one) >= _SHORTEST and one != HIDDEN)


def _secrets_in(address: str) -> list[str]:
    """User part, password, values of the query and fragment of an address, however odd the letters in them."""
    _, scheme, rest = address.partition("://")
    if not scheme:
        return []
    user, at, after = rest.rpartition("@")
    found = [user, user.partition(":")[2]] if at else []
    found.append(after.partition("#")[2])
    return found + [match[0].partition("=")[2] for match in _QUERY.finditer(after)]


def _plain_address(found: re.Match[str]) -> str:
    _, at, rest = found["rest"].rpartition("@")
    return found["scheme"] + (f"{HIDDEN}@" if at else "") + _QUERY.sub(rf"\g<name>{HIDDEN}", rest)


def _hidden_value(found: re.Match[str]) -> str:
    value = found["value"]
    return found["name"] + (f"{value[0]}{HIDDEN}{value[-1]}" if value[0] in "\"'" else HIDDEN)
