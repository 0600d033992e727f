"""Writes docker/.env: docker/.env.example with a fresh secret for every empty value, readable by its owner alone."""

from __future__ import annotations

import base64
import os
import re
import secrets
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def fresh(name: str) -> str:
    """A secret for one variable; letters and digits, but for Airflow's key, whose form is given."""
    if name == "AIRFLOW_FERNET_KEY":
        return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_hex(8 if name.endswith(("ACCESS_KEY", "ADMIN_PASSWORD")) else 24)


def filled(example: str) -> str:
    """The example's text with its empty values filled; comments and given values stay."""
    return re.sub(r"^([A-Z0-9_]+)=$", lambda found: f"{found[1]}={fresh(found[1])}", example, flags=re.MULTILINE)


def main(folder: Path = FOLDER) -> str | None:
    """Writes the file; what is wrong if it is there already, for the databases know its passwords."""
    target = folder / ".env"
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return f"{target} is there already: the volumes know its secrets. Remove both, or keep both."
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(filled((folder / ".env.example").read_text(encoding="utf-8")))
    print(f"wrote {target}; Airflow's user is admin, its password AIRFLOW_ADMIN_PASSWORD in that file")
    return None


if __name__ == "__main__":
    sys.exit(main())
