#!/usr/bin/env python3
"""`healthy URL [KEY.KEY=VALUE]`: exit 0 if the address answers and its JSON says so, else 1; there is no curl."""

from __future__ import annotations

import json
import sys
import urllib.request

_SECONDS = 5


def main(url: str, expected: str = "") -> str | None:
    """What is wrong with the address; None if nothing."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_SECONDS) as answer:
            found = json.load(answer) if expected else None
    except (OSError, ValueError) as error:
        return f"{url}: {error}"
    path, _, value = expected.partition("=")
    for key in path.split(".") if path else ():
        found = found.get(key) if isinstance(found, dict) else None
    return None if not path or found == value else f"{url}: {path} is {found!r}, expected {value!r}"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
