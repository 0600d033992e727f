"""Random numbers that depend on nothing but the seed, the day and the name of what is drawn.

Nothing but uniform numbers is drawn: NumPy promises no other distribution to stay the same in its next version. Each
name has a stream of its own, so a column more, or a day with fewer rows, changes no other number.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Draws:
    """The random numbers of one day."""

    seed: int
    day: date

    def uniform(self, name: str, rows: int = 1) -> Floats:
        """Numbers from 0 to 1; the first of them are the same for any count of rows."""
        key = [self.seed, self.day.toordinal(), zlib.crc32(name.encode())]
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key))).random(rows)

    def normal(self, name: str, rows: int = 1) -> Floats:
        """Standard normal numbers, by Box and Muller from two streams."""
        radius = np.sqrt(-2 * np.log1p(-self.uniform(name, rows)))
        return radius * np.cos(2 * np.pi * self.uniform(f"{name}, angle", rows))

    def chosen(self, name: str, weights: Mapping[str, Floats | float], rows: int) -> NDArray[np.str_]:
        """One of the names for each row, as likely as its weight in that row says."""
        table = np.stack([np.broadcast_to(np.asarray(weight, dtype=float), rows) for weight in weights.values()])
        limits = np.cumsum(table / table.sum(axis=0), axis=0)
        codes = (self.uniform(name, rows) > limits[:-1]).sum(axis=0)
        return np.array(list(weights))[codes]

    def count(self, name: str, mean: Floats) -> Floats:
        """Poisson counts of these means, up to 12, by the inverse of the distribution."""
        left, chance = self.uniform(name, len(mean)), np.exp(-mean)
        below, counts = chance.copy(), np.zeros(len(mean))
        for number in range(1, 13):
            counts += left > below
            chance = chance * mean / number
            below += chance
        return counts
