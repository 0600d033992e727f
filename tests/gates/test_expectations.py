from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc
collected = []
gc.callbacks.append(lambda phase, info: collected.append(phase))
from tallywright.gates.suite import _library
gc.collect()
del collected[:]
_library()
print(len(collected), gc.isenabled(), gc.get_freeze_count() > 0)
"""


def test_nothing_is_collected_while_the_library_is_imported():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "True", "True"]
