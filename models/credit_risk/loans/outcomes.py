"""How a loan was repaid, and when that became known.

An instalment is due every 30 days. The third one missed is a default; it is the third, fourth, fifth or sixth that was
due. A loan of which six instalments passed without that is a good one. So bad loans are known after 90 to 182 days and
good ones after 180 to 182: of young dates nothing but defaults is known, the trap of this data. Some loans are never
paid out, and have no outcome.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from datetime import date

    from numpy.typing import NDArray

    from loans.draws import Draws, Floats

INSTALMENT_DAYS: Final = 30
INSTALMENTS: Final = 6
MISSED: Final = 3
REPORT_DAYS: Final = 2
"""A default or the sixth instalment is reported on the same day or up to so many days later."""
LABEL_DAYS: Final = INSTALMENT_DAYS * INSTALMENTS + REPORT_DAYS + 1
"""So many days after its date all outcomes of a date are known."""
FIRST_DAYS: Final = INSTALMENT_DAYS * MISSED
NOT_PAID_OUT: Final = 0.03
_DEFAULT_AT: Final = np.cumsum([0.38, 0.27, 0.2])
"""Which of the instalments is the third missed one: the third, the fourth, the fifth, else the sixth."""


@dataclass(frozen=True)
class Outcomes:
    """What became of a day's applications, in their order."""

    application_id: NDArray[np.str_]
    probability: Floats
    """The true probability of default."""
    defaulted: NDArray[np.bool_]
    missed: NDArray[np.int64]
    reported_at: NDArray[np.datetime64]
    """Seconds; not a time where the loan was never paid out."""

    def reported_on(self, day: date) -> NDArray[np.bool_]:
        """Which of them became known on a day."""
        return self.reported_at.astype("datetime64[D]") == np.datetime64(day)

    def told(self, defaulted: NDArray[np.bool_]) -> Outcomes:
        """The same loans at the same instants, reported otherwise."""
        return replace(self, defaulted=defaulted)


def outcomes_of(day: date, identifiers: NDArray[np.str_], chance: Floats, draws: Draws, delay: int = 0) -> Outcomes:
    """Draws what became of the loans of a day; `delay` days are added to each report."""
    rows = len(chance)
    defaulted = draws.uniform("outcome", rows) < chance
    instalment = MISSED + (draws.uniform("instalment", rows)[:, None] > _DEFAULT_AT).sum(axis=1)
    due = INSTALMENT_DAYS * np.where(defaulted, instalment, INSTALMENTS)
    lag = np.floor(draws.uniform("report", rows) * (REPORT_DAYS + 1)).astype(int) + delay
    seconds = np.floor(3600 * (6 + 4 * draws.uniform("report, second", rows))).astype("timedelta64[s]")
    reported = np.datetime64(day, "s") + (due + lag).astype("timedelta64[D]") + seconds
    reported[draws.uniform("paid out", rows) < NOT_PAID_OUT] = np.datetime64("NaT")
    slips = (draws.uniform("slip", rows) < chance).astype(int) + (draws.uniform("slip, second", rows) < chance / 2)
    return Outcomes(identifiers, chance, defaulted, np.where(defaulted, MISSED, slips), reported)
