"""A driver of its own, for what the session of the test process cannot do: scores one day in several lakes.

    spark_driver.py MASTER PACKAGE BLOCKED LAKE:IO …

A lake may be on an object store, whose options are then AWS_* in this process's environment alone. The executors'
Python finds the modules in the folder BLOCKED before all others.

Prints one JSON object: the outcomes, and which heavy packages the executors' Python has loaded afterwards.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from synthetic import make_request, make_spec

from tallywright.data.delta.lake import Lake
from tallywright.data.storage.filesystem import filesystem_of
from tallywright.packaging.package import load_package
from tallywright.records import InputVersion
from tallywright.scoring.day import score_day
from tallywright.scoring.engines.base import Engines
from tallywright.spec.environment import EngineSettings, SparkSettings

HEAVY = ("airflow", "apache_beam", "great_expectations", "mlflow", "onnx", "pandas", "sklearn", "torch")


def heavy_modules(_: int) -> list[str]:
    """What this Python has loaded of what an executor does not need."""
    import sys

    return sorted(set(HEAVY) & {name.split(".")[0] for name in sys.modules})


def main(master: str, folder: str, blocked: str, lakes: list[str]) -> None:
    package = load_package(Path(folder))
    conf = {"spark.executor.memory": "512m", "spark.log.level": "ERROR", "spark.sql.shuffle.partitions": "2"}
    settings = EngineSettings(
        spark=SparkSettings(
            master=master,
            conf=conf | {"spark.executorEnv.PYTHONPATH": blocked},
        )
    )
    told = {}
    with Engines(settings) as engines:
        # With its own writer first: a session that was started without Delta never gets it.
        for place in sorted(lakes, key=lambda place: place.endswith(":direct")):
            root, _, io = place.rpartition(":")
            filesystem, file = filesystem_of(f"{root}/input.json", {})
            with filesystem.open_input_stream(file) as stream:
                pinned = InputVersion.from_json(stream.read().decode())
            request = make_request(
                Lake(root), make_spec(scoring={"io": io}), pinned, package, engine="spark", engines=engines
            )
            outcome = score_day(request)
            told[place] = {"action": outcome.action, "manifest": outcome.manifest.to_json()}
        context = engines.get("spark").session(delta=False).sparkContext
        loaded = context.parallelize(range(4), 4).map(heavy_modules).collect()
    sys.stdout.write(
        json.dumps({"outcomes": told, "heavy": sorted({name for names in loaded for name in names})}) + "\n"
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
