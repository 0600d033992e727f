"""Sends events by openlineage-python; what cannot be sent is said once, and holds nobody up."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tallywright.observability import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallywright.spec.environment import LineageSettings

_PAUSE_SECONDS: Final = 60.0
"""After a failure nothing is sent for so long: a range of days must not wait for a server that is away, day by day."""


class Sender:
    """Sends the events of a process; never raises.

    Args:
        settings: Names a transport.
    """

    def __init__(self, settings: LineageSettings) -> None:
        self._settings = settings
        self._transport: Any = None
        self._resumes = 0.0
        self._said = False

    def send(self, make: Callable[[], Any]) -> None:
        """Makes an event and sends it.

        Args:
            make: Makes it, once it is known that there is a way to send it.
        """
        if time.monotonic() < self._resumes:
            return
        try:
            if self._transport is None:
                self._transport = _transport(self._settings)
            event = make()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no reason to fail a step
            self._say(error)
            return
        try:
            self._transport.emit(event)
        except Exception as error:  # noqa: BLE001 - as above
            self._resumes = time.monotonic() + _PAUSE_SECONDS
            self._say(error)

    def _say(self, error: Exception) -> None:
        if isinstance(error, ModuleNotFoundError):
            told = f"{error}; pip install 'tallywright[lineage]'"
        else:
            told = f"{type(error).__name__}: {error}"
        if self._said:
            log.debug("lineage: %s", told)
        else:
            log.warning("lineage events are not sent, and the steps go on: %s", told)
        self._said = True


@lru_cache(maxsize=8)
def sender_of(settings: LineageSettings) -> Sender:
    """The one sender of this process for these settings."""
    return Sender(settings)


def _transport(settings: LineageSettings) -> Any:
    """The transport that the settings name; neither files nor variables of openlineage-python's own are asked."""
    if settings.transport == "file":
        from openlineage.client.transport.file import FileConfig, FileTransport

        file = Path(settings.file)
        file.parent.mkdir(parents=True, exist_ok=True)
        return FileTransport(FileConfig(log_file_path=str(file), append=True))
    from openlineage.client.transport.http import HttpConfig, HttpTransport

    key = settings.api_key.get_secret_value()
    return HttpTransport(
        HttpConfig.from_dict(
            {
                "url": settings.url,
                "endpoint": settings.endpoint,
                "timeout": settings.timeout_seconds,
                "auth": {"type": "api_key", "apiKey": key} if key else {},
                "retry": {"total": 0, "connect": 0, "read": 0},
            }
        )
    )
