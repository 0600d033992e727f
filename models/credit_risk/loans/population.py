"""Who asks for which loan on a day: the columns of an application, before anything is wrong with them.

One hidden number, the applicant's `standing`, ties the columns together: a better standing means more income, fewer
delinquencies, less of the credit lines used. Nothing else is hidden: risk is a function of the columns. Age, sex and
origin are left out on purpose, as a lender may not decide by them.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loans.draws import Draws, Floats

    Columns = dict[str, NDArray]

TERMS: Final = np.array([12, 24, 36, 48, 60, 72])
WEEKDAY_VOLUME: Final = (1.12, 1.10, 1.06, 1.04, 1.00, 0.92, 0.76)
"""Monday to Sunday, about 1: people apply at the beginning of the week."""
_REGIONS: Final = {
    "north": 0.17,
    "south": 0.21,
    "east": 0.14,
    "west": 0.2,
    "centre": 0.12,
    "capital": 0.13,
    "islands": 0.03,
}
_PURPOSE_AMOUNT: Final = {
    "car": 9.1, "home": 9.3, "debts": 9.2, "holiday": 7.9, "electronics": 7.3, "medical": 8.0, "education": 8.5,
}  # fmt: skip
"""The logarithm of the usual amount."""


def year_wave(day: date, peak: int) -> float:
    """From 1 on the day of the year `peak` to -1 half a year later."""
    return float(np.cos(2 * np.pi * (day.timetuple().tm_yday - peak) / 365.25))


def rows_of(day: date, usual: int, draws: Draws) -> int:
    """How many apply: by weekday and season (most in spring), within some 4 % of what is usual."""
    season = 1 + 0.12 * year_wave(day, peak=110)
    noise = 1 + 0.04 * float(draws.normal("rows")[0])
    return max(1, round(usual * WEEKDAY_VOLUME[day.weekday()] * season * noise))


def applications_of(day: date, rows: int, draws: Draws, standing_shift: float = 0.0) -> Columns:
    """The applications of a day in the order of their instants.

    Args:
        day: The local date of all of them.
        rows: How many there are.
        draws: The day's random numbers.
        standing_shift: By how many standard deviations the population stands better (or, negative, worse).
    """
    standing = draws.normal("standing", rows) + standing_shift
    columns: Columns = {"application_id": _identifiers(day, rows), "applied_at": _instants(day, rows, draws)}
    columns |= _channel(standing, draws) | _work(standing, draws)
    columns |= _loan(day, columns["income"], standing, draws) | _history(standing, draws)
    return columns | _what_is_unknown(columns, draws)


def _identifiers(day: date, rows: int) -> NDArray[np.str_]:
    numbers = np.char.zfill(np.arange(1, rows + 1).astype(str), 5)
    return np.char.add(f"L{day:%Y%m%d}-", numbers)


def _instants(day: date, rows: int, draws: Draws) -> NDArray[np.datetime64]:
    # Most in the evening; the sum of two numbers peaks between them.
    share = np.sort((draws.uniform("instant", rows) + draws.uniform("instant, second", rows)) / 2)
    seconds = np.floor(3600 * (5 + 19 * share)).astype("timedelta64[s]")
    return np.datetime64(day, "s") + np.minimum(seconds, np.timedelta64(timedelta(hours=24, seconds=-1), "s"))


def _channel(standing: Floats, draws: Draws) -> Columns:
    rows = len(standing)
    channels = {
        "web": 0.38,
        "app": 0.3,
        "branch": 0.16 * np.exp(0.2 * standing),
        "broker": 0.16 * np.exp(-0.35 * standing),
    }
    return {
        "channel": draws.chosen("channel", channels, rows),
        "region": draws.chosen("region", _REGIONS, rows),
        "customer": np.where(draws.uniform("customer", rows) < 0.3 + 0.06 * np.tanh(standing), "existing", "new"),
    }


def _work(standing: Floats, draws: Draws) -> Columns:
    rows = len(standing)
    kinds = {
        "employee": 0.62 * np.exp(0.1 * standing),
        "self_employed": 0.13,
        "public": 0.11 * np.exp(0.3 * standing),
        "retired": 0.08,
        "student": 0.04 * np.exp(-0.3 * standing),
        "none": 0.05 * np.exp(-0.7 * standing),
    }
    employment = draws.chosen("employment", kinds, rows)
    usual = {"employee": 7.85, "self_employed": 7.95, "public": 7.9, "retired": 7.4, "student": 6.7, "none": 6.6}
    centre = np.select([employment == kind for kind in usual], list(usual.values()))
    income = np.exp(centre + 0.28 * standing + 0.32 * draws.normal("income", rows))
    years = -np.log1p(-draws.uniform("years", rows)) * np.exp(1.6 + 0.25 * standing)
    has_work = np.isin(employment, ["employee", "self_employed", "public"])
    return {
        "employment": employment,
        "years_employed": np.where(has_work, np.round(np.minimum(years, 40), 1), np.nan),
        "income": np.round(np.clip(income, 250, 40_000), 2),
    }


def _loan(day: date, income: Floats, standing: Floats, draws: Draws) -> Columns:
    rows = len(income)
    purposes = {
        "car": 0.24 + 0.05 * year_wave(day, 120),
        "home": 0.2 + 0.07 * year_wave(day, 135),
        "debts": 0.2 * np.exp(-0.35 * standing),
        "holiday": 0.1 + 0.08 * year_wave(day, 150),
        "electronics": 0.14 + 0.08 * year_wave(day, 340),
        "medical": 0.06,
        "education": 0.06 + 0.04 * year_wave(day, 250),
    }
    purpose = draws.chosen("purpose", purposes, rows)
    centre = np.select([purpose == name for name in _PURPOSE_AMOUNT], list(_PURPOSE_AMOUNT.values()))
    amount = np.exp(centre + 0.45 * (np.log(income) - 7.75) + 0.45 * draws.normal("amount", rows))
    amount = np.clip(np.round(amount, -2), 500, 60_000)
    wished = 2.2 * (np.log(amount) - 7.2) + 1.1 * draws.normal("term", rows)
    obligations = income * np.clip(0.16 - 0.05 * standing + 0.1 * draws.normal("obligations", rows), 0, 0.7)
    return {
        "purpose": purpose,
        "amount": amount,
        "term_months": TERMS[np.clip(np.round(wished), 0, len(TERMS) - 1).astype(int)],
        "obligations": np.round(obligations, 2),
    }


def _history(standing: Floats, draws: Draws) -> Columns:
    rows = len(standing)
    months = np.floor(np.clip(np.exp(4.4 + 0.2 * standing + 0.6 * draws.normal("history", rows)), 1, 540))
    used = 1 / (1 + np.exp(0.6 + 0.75 * standing + 0.9 * draws.normal("utilisation", rows)))
    return {
        "history_months": months,
        "utilisation": np.round(1.1 * used, 3),
        "delinquencies_24m": draws.count("delinquencies", np.exp(-1.5 - 0.75 * standing)),
        "inquiries_6m": draws.count("inquiries", np.exp(-0.1 - 0.25 * standing)),
    }


def _what_is_unknown(columns: Columns, draws: Draws) -> Columns:
    """Nulls that have a meaning: no file at the bureau, no credit line, an income that nobody has proved."""
    rows = len(columns["income"])
    no_file = draws.uniform("no file", rows) < np.where(columns["employment"] == "student", 0.5, 0.1)
    no_line = no_file | (draws.uniform("no line", rows) < 0.14)
    unproved = (columns["employment"] == "self_employed") & (draws.uniform("unproved", rows) < 0.25)
    hidden = {"income": unproved, "utilisation": no_line}
    hidden |= dict.fromkeys(("history_months", "delinquencies_24m", "inquiries_6m"), no_file)
    return {name: np.where(unknown, np.nan, columns[name]) for name, unknown in hidden.items()}
