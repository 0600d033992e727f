"""A bit that flips in the input is never scored: it changes no row, or the day is refused before its commit."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from synthetic import read_scores

from tallywright.errors import IntegrityError


@pytest.mark.parametrize("flips", [60, pytest.param(3000, marks=pytest.mark.long)])
def test_no_bit_changes_a_score(shop, flips: int) -> None:
    """The pass has no record of the files here: the checksums of the pages alone tell."""
    pinned = shop.put()
    shop.score(pinned)
    before = read_scores(shop.lake, shop.spec)
    (path,) = shop.files("features")
    file, refused, silent = Path(path), 0, []
    sound = file.read_bytes()
    body = len(sound) - int.from_bytes(sound[-8:-4], "little") - 8
    for place in random.Random(7).sample(range(body * 8), flips):
        content = bytearray(sound)
        content[place // 8] ^= 1 << place % 8
        file.write_bytes(content)
        version = shop.version()
        try:
            shop.score(pinned, force=True)
        except IntegrityError as error:
            refused += error.remedy == "tally ingest shop --date 2024-03-01" and shop.version() == version
        else:
            silent += [] if read_scores(shop.lake, shop.spec).equals(before) else [place]
    assert silent == []
    assert refused > flips * 0.8
