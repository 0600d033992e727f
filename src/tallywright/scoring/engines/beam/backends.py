"""Chooses the Beam backend of an environment: a runner by its name, or Prism with workers of our own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tallywright.errors import UsageError
from tallywright.scoring.engines.beam.runners import FN_API, NamedBackend

if TYPE_CHECKING:
    from tallywright.scoring.engines.beam.runners import Backend
    from tallywright.spec.yaml_files import BeamSettings

PRISM: Final = "PrismRunner"
_REFUSED: Final = frozenset({"directrunner", "direct", "bundlebaseddirectrunner", "switchingdirectrunner"})
_OWN: Final = ("--runner", "--save_main_session")


def backend_for(settings: BeamSettings) -> Backend:
    """Starts the backend that the environment names.

    Raises:
        UsageError: A runner or an option that cannot be.
        EngineError: It does not start.
    """
    check_settings(settings)
    if settings.runner == PRISM:
        from tallywright.scoring.engines.beam.prism import prism_backend

        return prism_backend(settings)
    return NamedBackend(settings)


def check_settings(settings: BeamSettings) -> None:
    """Refuses settings and options that would have no effect.

    Raises:
        UsageError: Beam's `DirectRunner`, which is another runner each time, or an option that is set elsewhere.
    """
    if settings.runner.lower() in _REFUSED:
        raise UsageError(
            f"engine.beam.runner is {settings.runner}, which takes whatever runner it can get",
            expected=f"{FN_API} (in this process), {PRISM}, or a cluster's runner such as FlinkRunner",
            remedy="name the runner in the environment overlay",
        )
    taken = [option for option in settings.options if option.split("=", 1)[0] in _OWN]
    if taken:
        raise UsageError(
            f"engine.beam.options has {taken[0]}",
            expected="options of the runner; the runner itself is engine.beam.runner, and the session is never pickled",
        )
