"""Delta's jars for Spark: fetched once into a folder by Maven coordinates, with Spark's own Ivy.

A session that names local files starts offline and saves the seconds that resolving takes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib import metadata, util
from pathlib import Path
from typing import Final

from tallywright.errors import StorageError, UsageError
from tallywright.spark_session.machine import java, require_spark

JARS_VARIABLE: Final = "TALLYWRIGHT_SPARK_JARS"
IVY_SETTINGS_VARIABLE: Final = "TALLYWRIGHT_IVY_SETTINGS"
_SCALA: Final = "2.13"
_ORGANISATION: Final = "io.delta"


def delta_jars() -> list[Path]:
    """The staged jars of Delta, for `spark.jars` or `spark-submit --jars`.

    Raises:
        UsageError: They are not in the folder.
    """
    folder = jars_folder()
    jars = [folder / name for name in _file_names()]
    missing = [jar.name for jar in jars if not jar.is_file()]
    if missing:
        raise UsageError(
            f"{folder} has no {', '.join(missing)}",
            expected="Delta's jars, staged once",
            remedy=f"{sys.executable} -m tallywright.spark_session --stage (or set {JARS_VARIABLE} to their folder)",
        )
    return jars


def jars_folder() -> Path:
    """Where staged jars are looked for."""
    return Path(os.environ.get(JARS_VARIABLE) or Path(sys.prefix, "share", "tallywright", "jars"))


def stage_jars(folder: Path) -> list[Path]:
    """Fetches Delta's jars into a folder unless they are there; safe beside another process that does the same.

    Ivy's own settings say where from, or the settings file that `$TALLYWRIGHT_IVY_SETTINGS` names (a mirror).

    Raises:
        UsageError: No pyspark, delta-spark or Java.
        StorageError: The folder cannot be written, or the jars cannot be fetched.
    """
    require_spark()
    jars = [folder / name for name in _file_names()]
    if all(jar.is_file() for jar in jars):
        return jars
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".ivy-", dir=folder) as scratch:
            _retrieve(Path(scratch))
            for jar in jars:
                os.replace(Path(scratch) / jar.name, jar)  # noqa: PTH105 - the atomic one, said by name
    except OSError as error:
        raise StorageError(f"staging jars in {folder}: {error}", remedy="check the folder, and run it again") from error
    return jars


def _modules() -> list[tuple[str, str]]:
    """Name and version of each module, as the installed delta-spark and pyspark ask for them."""
    try:
        version, spark = metadata.version("delta-spark"), metadata.version("pyspark")
    except metadata.PackageNotFoundError as error:
        raise UsageError(
            "delta-spark is not installed", expected="the extra `spark`", remedy="pip install 'tallywright[spark]'"
        ) from error
    minor = ".".join(spark.split(".")[:2])
    return [(f"delta-spark_{minor}_{_SCALA}", version), ("delta-storage", version)]


def _file_names() -> list[str]:
    return [f"{module}-{version}.jar" for module, version in _modules()]


def _retrieve(folder: Path) -> None:
    """Lets Ivy put the jars into the folder; all that they depend on comes with Spark."""
    wanted = "".join(
        f'<dependency org="{_ORGANISATION}" name="{module}" rev="{version}" conf="default" transitive="false"/>'
        for module, version in _modules()
    )
    description = folder / "ivy.xml"
    description.write_text(
        '<ivy-module version="2.0"><info organisation="tallywright" module="jars"/>'
        f"<dependencies>{wanted}</dependencies></ivy-module>",
        encoding="utf-8",
    )
    spark = util.find_spec("pyspark")
    assert spark is not None, "required before"  # noqa: S101
    [home] = spark.submodule_search_locations or []
    settings = os.environ.get(IVY_SETTINGS_VARIABLE)
    command = [
        *(str(java()), "-cp", f"{home}/jars/*", "org.apache.ivy.Main", "-warn"),
        *(["-settings", settings] if settings else []),
        *("-cache", str(folder / "cache"), "-ivy", str(description), "-confs", "default"),
        *("-retrieve", f"{folder}/[artifact]-[revision].[ext]"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not all((folder / name).is_file() for name in _file_names()):
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip(" \t:=|-")]
        raise StorageError(
            f"Delta's jars cannot be fetched: {' '.join(lines)[:800] or f'exit code {done.returncode}'}",
            expected=", ".join(f"{_ORGANISATION}:{module}:{version}" for module, version in _modules()),
            remedy=f"check the network, or name a mirror's Ivy settings file with {IVY_SETTINGS_VARIABLE}",
        )
