"""The program of the fresh process: confines itself, loads a package, and prints one line of JSON about it.

Its import path holds the links of `dependencies` and the standard library, so what is not recorded is not there.
"""

from __future__ import annotations

import json
import sys

from tallywright.gates.operations.confinement import confine

COMMAND = "import sys; sys.path.append(sys.argv[1]); from tallywright.gates.operations.fresh import main; main()"
"""For `python -I -S -c`, with the folder of links and what is asked as arguments."""


def main() -> None:
    """Answers what is asked in `sys.argv`; ends with the exit code of the error when the package cannot be loaded."""
    network = confine()
    from tallywright.errors import TallyError  # after the confinement, as what it brings may start threads
    from tallywright.gates.operations.probe import ProbeRequest, probe

    try:
        answer = probe(ProbeRequest(**json.loads(sys.argv[2])))
    except TallyError as error:
        print(error, file=sys.stderr)  # noqa: T201 - this is the process's answer
        sys.exit(error.exit_code)
    print(json.dumps(answer | {"network": network}))  # noqa: T201 - this is the process's answer
