from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import gc
collected = []
gc.callbacks.append(lambda phase, info: collected.append(phase))
from tallywright.gates.library import library
gc.collect()
del collected[:]
library()
print(len(collected), gc.isenabled(), gc.get_freeze_count() > 0)
"""

LEAN = """
import json, sys, types
from tallywright.gates.library import OTHER_SOURCES, SELDOM_USED, library
kinds = set(dir(library().expectations))
found = {"others": sorted(OTHER_SOURCES & set(sys.modules))}
found["loaded"] = [name for name in SELDOM_USED if type(sys.modules[name]) is types.ModuleType]
import altair, scipy.stats, sqlalchemy
from great_expectations.expectations import core
from great_expectations.expectations.core import expect_column_kl_divergence_to_be_less_than as divergence
found["missing"] = [name for name in dir(core) if name.startswith("Expect") and name not in kinds]
found["same"] = divergence.stats is scipy.stats and divergence.alt is altair
found["entropy"] = float(divergence.stats.entropy([1, 0], [0.5, 0.5], base=2))
print(json.dumps(found))
"""


def test_nothing_is_collected_while_the_library_is_imported():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "True", "True"]


def test_the_library_is_imported_without_what_it_does_not_need_and_nothing_else_is():
    done = subprocess.run([sys.executable, "-W", "error", "-c", LEAN], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"others": [], "loaded": [], "missing": [], "same": True, "entropy": 1.0}
