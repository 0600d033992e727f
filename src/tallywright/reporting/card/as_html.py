"""A card as one self-contained page, without scripts and requests, in the report's style."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallywright.html_pages import rendered
from tallywright.reporting.plot import nice_ticks
from tallywright.reporting.report import TEMPLATES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallywright.gates.quality.reliability import Tenth
    from tallywright.reporting.card.content import ModelCard

_SIDE = 360.0
_LEFT, _TOP, _DRAWN = 52.0, 22.0, 288.0
"""Where the drawing begins inside its square, and how wide and high it is: the same, so that the diagonal is one."""


@dataclass(frozen=True)
class ReliabilityPlot:
    """The geometry of a reliability plot: outcome over score, one scale for both, so that the diagonal is perfect."""

    tenths: Sequence[Tenth]
    side: float = _SIDE

    @property
    def ticks(self) -> list[float]:
        """The values that are written at both axes."""
        ends = [(one.predicted, one.observed, one.lower, one.upper) for one in self.tenths]
        values = [value for tenth in ends for value in tenth if value is not None]
        return nice_ticks(min(values), max(values))

    def x(self, value: float) -> float:
        """The place of a score."""
        return round(_LEFT + self._share(value) * _DRAWN, 1)

    def y(self, value: float) -> float:
        """The height of an outcome."""
        return round(_TOP + (1 - self._share(value)) * _DRAWN, 1)

    @property
    def line(self) -> str:
        """The points of the line through the tenths."""
        return " ".join(f"{self.x(one.predicted)},{self.y(one.observed)}" for one in self.tenths)

    def _share(self, value: float) -> float:
        first, *_, last = self.ticks
        return (value - first) / (last - first)


def as_html(card: ModelCard) -> str:
    """The whole page."""
    plots = {section.anchor: ReliabilityPlot(section.reliability) for section in card.sections if section.reliability}
    return rendered(TEMPLATES, "card.html.j2", "report.css", {"card": card, "plots": plots})
