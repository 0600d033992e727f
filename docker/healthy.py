#!/usr/bin/env python3
"""`healthy URL`: exit 0 if the address answers with a success, else 1 with one line. For images without curl."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request

_SECONDS = 5


def main(url: str) -> str | None:
    """What is wrong with the address; None if nothing."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_SECONDS):
            return None
    except (OSError, urllib.error.URLError) as error:
        return f"{url}: {error}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
