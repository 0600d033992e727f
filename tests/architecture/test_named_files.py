"""The modules that docs/architecture.md names are where it says."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def test_every_file_of_the_questions_exists() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").partition("## Questions")[2]
    named = {name.partition(":")[0] for name in re.findall(r"`([\w/]+(?:\.py(?::\w+)?|/))`", text)}
    missing = sorted(name for name in named if not (ROOT / "src/tallywright" / name).exists())
    assert len(named) > 20
    assert missing == []
