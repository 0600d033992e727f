"""A model from elsewhere is judged on rows that it has not seen, by the word of who adopts it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from tallywright.errors import LeakError

if TYPE_CHECKING:
    from datetime import date

    from tallywright.data.snapshot import Snapshot
    from tallywright.training.adoption.adopted import Adopted


_DAY: Final = timedelta(days=1)


def require_unseen_holdout(day: date, taken: Snapshot, adopted: Adopted) -> None:
    """Refuses a holdout of which the model has seen a day.

    Raises:
        LeakError: Names about the first as-of date whose holdout it has not seen.
    """
    seen = adopted.trained_through
    if seen < taken.holdout_from:
        return
    later = day + (seen - taken.holdout_from) + _DAY
    raise LeakError(
        f"the model has seen rows through {seen}, and the holdout as of {day} is {taken.holdout_from} to "
        f"{taken.holdout_to}",
        expected="a holdout that begins after the last date that the model has seen",
        remedy=f"adopt it as of about {later} or later (`--date {later}`), once the days until then are ingested; or "
        "bring a model that has seen less",
    )
