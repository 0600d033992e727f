"""A bit that flips in the input is never scored: it changes no row, or the day is refused before its commit."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from synthetic import read_scores

from tallywright.errors import IntegrityError
from tallywright.scoring.prepare import job_for, pinned_files
from tallywright.scoring.roles.eligibility import assemble
from tallywright.scoring.worker.kernel import read_fragment


@pytest.mark.timeout(1800)
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


def _headers(path: Path) -> Iterator[int]:
    """The bytes of the file in which the headers of its pages are."""
    groups = pq.read_metadata(path)
    for number in range(groups.num_row_groups):
        for index in range(groups.num_columns):
            column = groups.row_group(number).column(index)
            for start in filter(None, (column.dictionary_page_offset, column.data_page_offset)):
                yield from range(start, start + 40)


def test_no_bit_of_a_pages_header_changes_what_is_read(shop) -> None:
    """A header has no checksum of its own, and may hide that the page has one."""
    pinned = shop.put()
    job = job_for(shop.spec, shop.lake, pinned, assemble(shop.request(pinned).candidates))
    splits, _ = pinned_files(shop.lake, pinned)
    (path,) = shop.files("features")
    file, silent = Path(path), []
    sound = file.read_bytes()

    def read() -> list[str]:
        """The values as texts, by which NaN is NaN."""
        (fragment,) = splits[0].fragments
        return [str(column.to_pylist()) for batch in read_fragment(job, fragment) for column in batch.columns]

    before = read()
    for place in _headers(file):
        for bit in range(8):
            content = bytearray(sound)
            content[place] ^= 1 << bit
            file.write_bytes(content)
            try:
                found = read()
            except IntegrityError:
                continue
            silent += [] if found == before else [(place, bit)]
    assert silent == []
