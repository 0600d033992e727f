"""The engine `beam`: splits are the elements of a Beam pipeline, on whichever runner the environment names.

Beam itself is imported when the first day is scored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tallywright.scoring.engines.beam.driver import BeamEngine
    from tallywright.spec.environment import EngineSettings


def engine(settings: EngineSettings) -> BeamEngine:
    """The engine, for the registry."""
    from tallywright.scoring.engines.beam.driver import BeamEngine

    return BeamEngine(settings.beam)
