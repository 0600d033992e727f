"""What the engine of a table cannot read in its log, is called damaged by name, whichever bit of its commit flips."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from tallywright.data.delta.lake import Lake
from tallywright.data.delta.log_damage import is_readable, log_damage
from tallywright.errors import IntegrityError, TableContractError


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table whose newest commit replaces rows in an app transaction."""
    folder = tmp_path_factory.mktemp("lake") / "shop__scores"
    write_deltalake(folder, pa.table({"n": [1, 2]}))
    told = CommitProperties(app_transactions=[Transaction("tallywright/shop", 3)])
    write_deltalake(folder, pa.table({"n": [3]}), mode="overwrite", commit_properties=told)
    return folder


def _opens(table: Path) -> bool:
    try:
        DeltaTable(table).file_uris()
    except Exception:  # noqa: BLE001 - whatever it is that the engine says
        return False
    return True


@pytest.mark.parametrize("version", [0, 1])
def test_a_commit_that_cannot_be_opened_is_found_damaged(table: Path, version: int) -> None:
    """By its own name, also where only JSON inside a text is damaged, which Python takes for text."""
    file = table / f"_delta_log/{version:020d}.json"
    good = file.read_bytes()
    assert is_readable(file.name, good)
    missed, refused = [], 0
    try:
        for bit in range(0, len(good) * 8, 3):
            content = bytearray(good)
            content[bit // 8] ^= 1 << bit % 8
            file.write_bytes(content)
            if is_readable(file.name, bytes(content)) and not _opens(table):
                refused += 1
                try:
                    Lake(str(table.parent)).open(table.name)
                except IntegrityError as damage:
                    if file.name in damage.found:
                        continue
                except TableContractError:
                    if b"eaderVersion" in content[max(0, bit // 8 - 20) : bit // 8 + 20]:
                        continue  # the version that it would be of another engine's table
                missed.append(bytes(content[max(0, bit // 8 - 20) : bit // 8 + 20]))
    finally:
        file.write_bytes(good)
    assert missed == []
    assert version == 1 or refused > 50


@pytest.mark.parametrize(
    "text", ['{"add":{"qath":1}}', '{"add":null}', '{"txn":{"appId":"a","version":NaN}}', "{}\x0b{}", ""]
)
def test_lines_that_python_alone_would_read_are_damage(table: Path, text: str) -> None:
    newest = table / f"_delta_log/{1:020d}.json"
    good = newest.read_bytes()
    try:
        newest.write_text(text)
        error = log_damage(str(table), {})
    finally:
        newest.write_bytes(good)
    assert isinstance(error, IntegrityError)
    assert newest.name in error.found
    assert error.remedy == "tally verify shop --repair"
