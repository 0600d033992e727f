"""The sensor of `schedule.after`: a run waits for its input, and takes no slot of a worker while it does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset
from airflow.sdk.bases.sensor import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException

from tallywright.errors import UsageError
from tallywright.orchestration.dates import RunFacts, run_period
from tallywright.orchestration.operator import TallyOperator

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

_SECONDS_BETWEEN_LOOKS = 60


class InputSensor(BaseSensorOperator, TallyOperator):  # type: ignore[misc]  # airflow ships no types
    """Succeeds once the table, or the asset, of `schedule.after` has what belongs to the run's period.

    A table is looked at by a command of its own, as every step; an asset by its events. After the deadline it fails: a
    run about an older period looks once.
    """

    template_fields = ()
    ui_color = "#e8ecf1"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(mode="reschedule", poke_interval=_SECONDS_BETWEEN_LOOKS, **kwargs)
        section = self.schedule_section
        # The wait ends by the deadline of the period and not by the time since the run began.
        self.timeout = max(section.longest_wait.total_seconds(), _SECONDS_BETWEEN_LOOKS) + _SECONDS_BETWEEN_LOOKS
        if section.after_asset:
            self.inlets = [Asset(section.after)]

    def poke(self, context: Mapping[str, Any]) -> bool:
        """Looks once.

        Raises:
            AirflowFailException: The deadline has passed, or what is waited for cannot be looked at.
        """
        section = self.schedule_section
        try:
            period = run_period(RunFacts.of(context), section)
        except UsageError as error:
            raise AirflowFailException(str(error)) from error
        missing = self._missing_event(context, period) if section.after_asset else self._missing_rows(context)
        if not missing:
            return True
        due = section.due(period)
        if datetime.now(UTC) >= due:
            raise AirflowFailException(f"{missing}; the deadline of {period} was {due:%Y-%m-%d %H:%M} UTC")
        self.log.info("%s; waiting until %s UTC", missing, f"{due:%Y-%m-%d %H:%M}")
        return False

    def _missing_rows(self, context: Mapping[str, Any]) -> str:
        return str(TallyOperator.execute(self, context).get("missing", ""))

    def _missing_event(self, context: Mapping[str, Any], period: date) -> str:
        section = self.schedule_section
        ended = section.calendar.end(period)
        events = context["inlet_events"][Asset(section.after)].after(ended.isoformat())
        return "" if len(events) else f"{section.after} had no event since {ended:%Y-%m-%d %H:%M} UTC"
