"""A day of the world: its applications, the truth about them, and what is reported on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from loans.draws import Draws
from loans.outcomes import FIRST_DAYS, LABEL_DAYS, Outcomes, outcomes_of
from loans.population import applications_of, rows_of
from loans.risk import Concept, day_effect, log_odds, probability
from loans.schemas import APPLICATIONS, REPAYMENTS, table_of

if TYPE_CHECKING:
    import pyarrow as pa

    from loans.faults import Fault
    from loans.population import Columns


@dataclass(frozen=True)
class World:
    """All days for one seed, each by itself: what a day holds depends on no other day and on no range asked for."""

    seed: int = 1
    rows: int = 900
    """Applications on a usual day."""
    faults: tuple[Fault, ...] = ()

    def columns(self, day: date) -> Columns:
        """The applications of a day as they really were."""
        draws = Draws(self.seed, day)
        shift = sum(fault.standing() for fault in self._faults(day))
        return applications_of(day, rows_of(day, self.rows, draws), draws, shift)

    def outcomes(self, day: date) -> Outcomes:
        """What becomes of the applications of a day, with the true probability of each."""
        return _outcomes(self, day)

    def applications(self, day: date) -> pa.Table:
        """The applications of a day as they are filed."""
        columns = self.columns(day)
        for fault in self._faults(day):
            columns = fault.filed(columns, Draws(self.seed, day))
        return table_of(columns, APPLICATIONS)

    def repayments(self, day: date) -> pa.Table:
        """Defaults and good loans that become known on a day, whenever their applications were."""
        longest = LABEL_DAYS + max((fault.report_delay() for fault in self.faults), default=0)
        parts = []
        for age in range(FIRST_DAYS, longest + 1):
            found = self.outcomes(day - timedelta(days=age))
            known = found.reported_on(day)
            parts.append((found.application_id[known], found.reported_at[known],
                          found.defaulted[known], found.missed[known]))  # fmt: skip
        identifiers, instants, defaulted, missed = (np.concatenate(part) for part in zip(*parts, strict=True))
        order = np.argsort(instants, kind="stable")
        columns = {
            "application_id": identifiers,
            "reported_at": instants,
            "status": np.where(defaulted, "defaulted", "performing"),
            "missed": missed,
        }
        return table_of({name: values[order] for name, values in columns.items()}, REPAYMENTS)

    def delivered(self, day: date) -> date | None:
        """The day on which the file of a day's applications is there; None: never."""
        there: date | None = day
        for fault in self._faults(day):
            there = fault.delivered(there)
        return there

    def _faults(self, day: date) -> list[Fault]:
        return [fault for fault in self.faults if fault.covers(day)]

    def truth(self, day: date) -> Outcomes:
        """Computes `outcomes`, which remembers it."""
        draws, faults, concept = Draws(self.seed, day), self._faults(day), Concept()
        for fault in faults:
            concept = fault.concept(concept)
        columns = self.columns(day)
        shift = day_effect(day, draws) + sum(fault.log_odds() for fault in faults)
        delay = sum(fault.report_delay() for fault in faults)
        chance = probability(log_odds(columns, concept) + shift)
        found = outcomes_of(day, columns["application_id"], chance, draws, delay)
        for fault in faults:
            found = found.told(fault.reported(found.defaulted, draws))
        return found


@lru_cache(maxsize=400)
def _outcomes(world: World, day: date) -> Outcomes:
    return world.truth(day)
