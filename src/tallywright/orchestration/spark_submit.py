"""The operator of steps that may start Spark: submits them to the cluster that an Airflow connection names.

It is a SparkSubmitOperator as far as the connection and its options go. The command it makes runs like every other
step: in a guarded process group, with `tally`'s exit codes, so that a killed task leaves no driver behind.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException

from tallywright.orchestration.operator import TallyOperator
from tallywright.spark_session.jars import JARS_VARIABLE
from tallywright.spark_session.session import MASTER_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook

    from tallywright.orchestration.command import GuardedProcess
    from tallywright.spec.environment import SparkSettings

JOB: Final = Path("jobs", "score_spark.py")
_READ_BY_THE_HOOK: Final = frozenset(
    {
        "spark.kubernetes.namespace",
        "spark.kubernetes.submission.waitAppCompletion",
        "spark.yarn.submit.waitAppCompletion",
    }
)
"""The properties that the provider's hook looks at itself, and puts on the command line."""
_SECRET: Final = re.compile(r"secret|passw|token|credential|key|sas", re.IGNORECASE)
_LOCAL: Final = re.compile(r"local(\[.*\])?")


class SparkTallyOperator(TallyOperator, SparkSubmitOperator):  # type: ignore[misc]  # airflow ships no types here
    """Runs one step under spark-submit in client mode; on a connection whose master is `local…`, without it.

    Args:
        settings: Where Spark runs: the connection, further properties.
        own_io: The step needs Delta's jars.
    """

    # Nothing is templated, here neither: parameters become elements of an argument list.
    template_fields: Sequence[str] = ()

    def __init__(self, *, settings: SparkSettings, own_io: bool, **kwargs: Any) -> None:
        shown = {name: value for name, value in settings.conf.items() if name in _READ_BY_THE_HOOK}
        super().__init__(conn_id=settings.connection, conf=shown, durable=False, **kwargs)
        self.settings = settings
        self.own_io = own_io

    def _guarded(self, argv: list[str]) -> GuardedProcess:
        master = self._master()
        if _LOCAL.fullmatch(master):
            process = super()._guarded(argv)
            process.environment[MASTER_VARIABLE] = master
            return process
        job = self.command.root / JOB
        if not job.is_file():
            raise AirflowFailException(
                f"{job} is missing\n  expected: the entry point for spark-submit\n"
                "  to do:    copy it from a new project (`tally init`)"
            )
        # `interpreter -m tallywright` gives way to spark-submit and the job.
        self.name, self.application_args = f"{self.command.model} {self.command.step}", argv[3:]
        process = super()._guarded(self._submit_command(job))
        python = self.command.interpreter
        process.environment |= {"PYSPARK_PYTHON": process.environment.get("PYSPARK_PYTHON", python)}
        process.environment |= {"PYSPARK_DRIVER_PYTHON": python}
        process.environment["PATH"] = f"{Path(python).parent}:{process.environment.get('PATH', '')}"
        return process

    def _submit_command(self, job: Path) -> list[str]:
        self.jars = ",".join(map(str, self._jars())) or None
        # Not `--conf`: every user of the machine can read a command line, and a task's log is kept.
        self.properties_file = str(self._properties_file())
        hook = self._resolved()
        if hook._connection["deploy_mode"] == "cluster":  # noqa: SLF001 - the hook's only record of it
            raise AirflowFailException(
                f"the connection {self.settings.connection!r} asks for deploy mode cluster\n"
                "  expected: client: the driver makes the commit and writes the task's result beside Airflow"
            )
        command: list[str] = hook._build_spark_submit_command(str(job))  # noqa: SLF001 - as the operator's own execute
        # A file that is named takes the place of spark-defaults.conf, which goes on counting.
        place = command.index("--properties-file")
        return [*command[:place], "--load-spark-defaults", *command[place:]]

    def _properties_file(self) -> Path:
        """The properties of the environment, in a file that this user alone may read and that goes with the step."""
        file = self._scratch / "spark.properties"
        hidden = {name: value for name, value in self.settings.conf.items() if name not in _READ_BY_THE_HOOK}
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as written:
            written.writelines(f"{_escaped(name)}={_escaped(value)}\n" for name, value in hidden.items())
        return file

    def _secrets(self) -> tuple[str, ...]:
        named = (value for name, value in self.settings.conf.items() if _SECRET.search(name))
        return (*super()._secrets(), *named)

    def _master(self) -> str:
        """The connection's master; the provider itself would take `yarn` for a connection that is missing."""
        name = self.settings.connection
        try:
            connection = BaseHook.get_connection(name)
        except AirflowNotFoundException as error:
            raise AirflowFailException(
                f"there is no Airflow connection {name!r}\n"
                "  expected: a connection of type spark whose host is the master (engine.spark.connection)\n"
                f"  to do:    airflow connections add {name} --conn-type spark --conn-host spark://HOST:7077"
            ) from error
        if not connection.host:
            raise AirflowFailException(
                f"the Airflow connection {name!r} names no master\n  expected: its host to be one, such as spark://HOST"
            )
        return str(self._resolved()._connection["master"])  # noqa: SLF001 - host, port and type in one: the hook's rules

    def _resolved(self) -> SparkSubmitHook:
        """The provider's hook, which reads the connection as it is made."""
        try:
            return self._get_hook()
        except NameError as error:  # all that the hook says when it lacks the package
            raise AirflowFailException(
                f"the connection {self.settings.connection!r} names a Kubernetes master, and Airflow lacks a package"
                "\n  expected: apache-airflow-providers-cncf-kubernetes\n"
                "  to do:    install tallywright[kubernetes] beside Airflow"
            ) from error

    def _jars(self) -> list[Path]:
        if not self.own_io:
            return []
        given = self.command.environment().get(JARS_VARIABLE)
        python = Path(self.command.interpreter or sys.executable)
        folder = Path(given) if given else python.parent.parent / "share" / "tallywright" / "jars"
        jars = sorted(folder.glob("*.jar"))
        if not jars:
            raise AirflowFailException(
                f"no jars in {folder}\n  expected: Delta's, for `io: engine`\n"
                f"  to do:    {python} -m tallywright.spark_session --stage {folder}"
            )
        return jars


def _escaped(text: str) -> str:
    """A name or a value in the form of a Java properties file."""
    units = text.encode("utf-16-be")
    letters = (int.from_bytes(units[place : place + 2], "big") for place in range(0, len(units), 2))
    return "".join(chr(unit) if chr(unit).isascii() and chr(unit).isalnum() else f"\\u{unit:04x}" for unit in letters)


def submitted(settings: SparkSettings, scoring_io: str) -> dict[str, Any]:
    """The operator's own arguments."""
    wanted = settings.io if scoring_io == "auto" else scoring_io
    return {"settings": settings, "own_io": wanted == "engine"}
