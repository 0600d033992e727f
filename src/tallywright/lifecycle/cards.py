"""When the model card of a version is attached: as it is registered, and whenever the promotion log says more of it.

What a card says is the read side's, which hands it over with the run's context.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallywright.errors import TallyError
from tallywright.observability import log
from tallywright.registry.cards import attach_card
from tallywright.registry.promotion_log import APPROVE, REJECT, PromotionLog, champion_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallywright.lifecycle.context import RunContext
    from tallywright.records import Promotion


def attach(context: RunContext, version: int) -> None:
    """Attaches the card of a version as it is known now; nothing where the context has no cards.

    Raises:
        TallyError: It cannot be made, or MLflow is away.
    """
    if context.card is not None:
        attach_card(context.project, version, context.card(context.project, context.lake, version))


def follow_entry(context: RunContext, entry: Promotion) -> None:
    """Attaches anew the cards that an entry of the promotion log changes: its version's, and those of the champions.

    The entry stands whatever comes of it: a card that cannot be attached is a warning; asking once more attaches it.
    """
    if context.card is None:
        return
    for version in _about(PromotionLog(context.lake, context.spec).entries(), entry):
        try:
            attach(context, version)
        except TallyError as error:
            log.warning("the card of version %s is not attached anew: %s", version, error.found)


def _about(entries: Sequence[Promotion], entry: Promotion) -> list[int]:
    """The entry's version; where it changes who is champion, also the champion before it and the one after it."""
    if entry.action in (APPROVE, REJECT):
        return [entry.model_version]
    before = champion_on((one for one in entries if one.sequence < entry.sequence), None)
    champions = (one.model_version for one in (before, champion_on(entries, None)) if one is not None)
    return list(dict.fromkeys([entry.model_version, *champions]))
