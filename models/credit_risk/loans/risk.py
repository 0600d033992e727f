"""The true probability that a loan defaults: a logistic function of the application's columns and of its day.

It is what the outcome is drawn with. So the best ROC AUC that any model can reach, and what calibrated scores are, can
be computed instead of guessed. `Concept` is how columns act; `LATER` is how they act after a change of concept.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from loans.population import year_wave

if TYPE_CHECKING:
    from datetime import date

    from loans.draws import Draws, Floats
    from loans.population import Columns

DAY_SPREAD: Final = 0.12
"""Standard deviation, in log odds, of what all loans of a day share and no column says."""


@dataclass(frozen=True)
class Concept:
    """What each column adds to the log odds of default."""

    base: float = -3.3
    burden: float = 2.6
    """Of each unit by which monthly costs (instalment and obligations) over income lie above 0.3."""
    utilisation: float = 1.6
    late_and_full: float = 1.3
    """Of delinquencies together with a used share of the credit lines: the one alone says little."""
    delinquency: float = 0.42
    inquiry: float = 0.16
    no_history: float = 0.7
    young_history: float = 0.5
    new_job: float = 0.55
    no_work: float = 0.8
    unproved_income: float = 0.6
    self_employed: float = 0.25
    broker: float = 0.35
    debts: float = 0.4
    holiday: float = 0.3
    long_term: float = 0.35
    existing_customer: float = -0.4
    islands: float = 0.3


LATER: Final = Concept(
    burden=4.2, utilisation=0.2, late_and_full=0.3, delinquency=0.15, inquiry=0.45, broker=-0.2, debts=-0.4, holiday=0.9
)
"""After a whole change of concept: the burden counts more, the credit lines hardly at all."""


def between(before: Concept, after: Concept, strength: float) -> Concept:
    """The concept on the way from one to the other."""
    old, new = asdict(before), asdict(after)
    return Concept(**{name: (1 - strength) * old[name] + strength * new[name] for name in old})


def monthly_burden(columns: Columns) -> Floats:
    """Instalment (by a rule of thumb, 1.06 of the amount over the term) and obligations over income."""
    instalment = 1.06 * columns["amount"] / columns["term_months"]
    return (instalment + columns["obligations"]) / columns["income"]


def log_odds(columns: Columns, concept: Concept) -> Floats:
    """The log odds of default by the columns alone."""
    burden = np.clip(np.nan_to_num(monthly_burden(columns), nan=0.3), 0, 1.2) - 0.3
    used = np.nan_to_num(columns["utilisation"], nan=0.35)
    late = np.minimum(np.nan_to_num(columns["delinquencies_24m"]), 4)
    terms = {
        "burden": burden,
        "utilisation": used - 0.35,
        "late_and_full": np.minimum(late, 2) * (used > 0.6),
        "delinquency": late,
        "inquiry": np.minimum(np.nan_to_num(columns["inquiries_6m"]), 5),
        "no_history": np.isnan(columns["history_months"]),
        "young_history": np.nan_to_num(columns["history_months"], nan=999) < 36,
        "new_job": np.nan_to_num(columns["years_employed"], nan=9) < 1,
        "no_work": np.isin(columns["employment"], ["none", "student"]),
        "unproved_income": np.isnan(columns["income"]),
        "self_employed": columns["employment"] == "self_employed",
        "broker": columns["channel"] == "broker",
        "debts": columns["purpose"] == "debts",
        "holiday": columns["purpose"] == "holiday",
        "long_term": columns["term_months"] >= 60,
        "existing_customer": columns["customer"] == "existing",
        "islands": columns["region"] == "islands",
    }
    return concept.base + sum(getattr(concept, name) * term for name, term in terms.items())


def day_effect(day: date, draws: Draws) -> float:
    """What all loans of a day share: loans of the winter and of weekends are worse, and each day differs a little."""
    weekend = 0.12 if day.weekday() >= 5 else 0.0
    return 0.18 * year_wave(day, 10) + weekend + DAY_SPREAD * float(draws.normal("day")[0])


def probability(log_odds: Floats) -> Floats:
    """From log odds to a probability."""
    return 1 / (1 + np.exp(-log_odds))
