"""An SDK worker process: runs the harnesses that its driver requests, and ends when the driver does.

    python -m tallywright.scoring.engines.beam.harness NUMBER

Standard input is both the command channel and the lifeline. Each line is a request of Beam's worker pool protocol in
base64, `start` or `stop` before it; at its end, that is when the driver has closed it or is dead, the process exits.
"""

from __future__ import annotations

import base64
import os
import sys

from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.worker import sdk_worker
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

_IDS_OF_A_PROCESS = 1 << 40


def main() -> None:
    """Serves until the end of standard input; never returns, for a harness may be busy."""
    # Each process counts the short names of its metrics from one, and Prism takes equal names of two workers for the
    # same metric, which fails the pipeline when their types differ.
    sdk_worker.SHORT_ID_CACHE._last_short_id = int(sys.argv[1]) * _IDS_OF_A_PROCESS  # noqa: SLF001 - it has no other way
    pool = BeamFnExternalWorkerPoolServicer()
    for line in sys.stdin:
        verb, encoded = line.split()
        message = base64.b64decode(encoded)
        if verb == "start":
            answer = pool.StartWorker(beam_fn_api_pb2.StartWorkerRequest.FromString(message), None)
            if answer.error:
                sys.stderr.write(f"{answer.error}\n")
                os._exit(1)
        else:
            pool.StopWorker(beam_fn_api_pb2.StopWorkerRequest.FromString(message), None)
    os._exit(0)


if __name__ == "__main__":
    main()
