"""Chooses the Beam backend of an environment: a runner by its name, or Prism with workers of our own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tallywright.errors import UsageError
from tallywright.scoring.engines.beam.runners import FN_API, NamedBackend

if TYPE_CHECKING:
    from tallywright.scoring.engines.beam.runners import Backend
    from tallywright.spec.environment import BeamSettings

PRISM: Final = "PrismRunner"
_REFUSED: Final = frozenset({"directrunner", "direct", "bundlebaseddirectrunner", "switchingdirectrunner"})
_OWN: Final = ("--runner", "--save_main_session")
_OPEN: Final = {
    "--environment_type=loopback": "takes code from whoever reaches the port of its worker",
    "--direct_running_mode=multi_threading": "listens on every interface of the machine",
    "--direct_running_mode=multi_processing": "listens on every interface of the machine",
}
"""Options with which Beam opens ports that ask nobody who they are, and what each does."""


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
        UsageError: Beam's `DirectRunner`, which is another runner each time, an option that is set elsewhere, or one
            that opens a port to strangers.
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
    opened = [(option, _OPEN[same]) for option in settings.options if (same := _plain(option)) in _OPEN]
    if opened:
        raise UsageError(
            f"engine.beam.options has {opened[0][0]}: it {opened[0][1]}",
            expected="workers that take code from their own runner alone",
            remedy="take it out: the workers are threads of this process, or processes of the engine's own",
        )


def _plain(option: str) -> str:
    """An option as `_OPEN` writes it; Beam takes hyphens for underscores, and capitals as they come."""
    name, equals, value = option.partition("=")
    return f"--{name.removeprefix('--').replace('-', '_')}{equals}{value.lower()}"
