"""How rows of scores hang on what was asked for, and what was found about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallywright.reporting.backward.contents import ContentKey, Contents


class Link(StrEnum):
    """How rows hang on something; the surest come first."""

    SCORED = "scored by it"
    READ = "made from it"
    INGESTED = "ingested from it"
    LOOKED_UP = "ingested with a look into it"
    INGESTED_BY = "ingested by it"
    TRAINED_BY = "by a model that it trained"
    TRAINED = "by a model trained on it"
    PINNED = "by a model whose snapshot is this version of the table"
    PERHAPS = "perhaps ingested from it"
    MAY_REACH = "within data.lookback of it"
    MAY_TRAIN = "by a model perhaps trained on it"


UNSURE: Final = frozenset({Link.PERHAPS, Link.MAY_REACH, Link.MAY_TRAIN})
"""The links that say what may be, and not what was recorded."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found about what was asked for.

    Attributes:
        facts: For people and programs, by name.
        contents: All contents of dates that are known, with that which was asked for.
        linked: The contents that hang on it.
        versions: The model versions that are it, were trained by it, or are pinned to it.
        code: The versions of the code that are it.
        needs_raw_files: Whether a content whose raw files were not recorded may hang on it, too.
        notes: What is to be known besides.
    """

    facts: dict[str, Any]
    contents: Contents
    linked: Mapping[ContentKey, Link] = field(default_factory=dict)
    versions: Mapping[int, Link] = field(default_factory=dict)
    code: frozenset[str] = frozenset()
    needs_raw_files: bool = False
    notes: tuple[str, ...] = ()
