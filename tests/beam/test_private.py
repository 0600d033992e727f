"""Nobody else has a day's runner or its workers run code: no port is open, and no socket is for others.

Prism and the pool of workers run what they are sent and ask nobody who they are. So these tests look at every socket
that listens while a day is scored, and then try, as somebody else would, to be served.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import psutil
import pytest
from beam_world import beam_engine, on
from hypothesis import given
from hypothesis import strategies as st

from tallywright.errors import UsageError
from tallywright.scoring.day import score_day
from tallywright.scoring.engines.base import Engines
from tallywright.scoring.engines.beam.backends import backend_for
from tallywright.scoring.engines.beam.pool import WorkerPool
from tallywright.scoring.engines.beam.prism import PrismBackend
from tallywright.scoring.engines.beam.runners import NamedBackend

pytestmark = [pytest.mark.beam, pytest.mark.filterwarnings("ignore")]

NOBODY = 65534
ASK = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1]); print('served')"


def listening() -> set[str]:
    """Every address at which this process, or one that it started, listens: of loopback too."""
    me, found = psutil.Process(), set()
    for process in (me, *me.children(recursive=True)):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            connections = process.net_connections(kind="inet")
            found |= {f"{process.pid} {one.laddr}" for one in connections if one.status == psutil.CONN_LISTEN}
    return found


def watched(monkeypatch: pytest.MonkeyPatch, backend: type, name: str) -> list[set[str]]:
    """What listens each time that a backend begins to run a pipeline, and when it has."""
    seen: list[set[str]] = []
    run: Callable[..., None] = getattr(backend, name)

    def watch(self: object, *arguments: object) -> None:
        seen.append(listening())
        run(self, *arguments)
        seen.append(listening())

    monkeypatch.setattr(backend, name, watch)
    return seen


def test_while_a_day_is_scored_on_prism_nothing_listens_on_a_port(day, prism_engines, monkeypatch) -> None:
    others = listening()  # of other tests, such as the JVM of a session of Spark
    seen = watched(monkeypatch, PrismBackend, "_wait")
    assert score_day(day.request(engines=prism_engines)).action == "committed"
    assert len(seen) == 2
    assert set.union(*seen) - others == set()


def test_while_a_day_is_scored_in_this_process_nothing_listens_on_a_port(day, monkeypatch) -> None:
    others = listening()
    seen = watched(monkeypatch, NamedBackend, "run")
    with Engines(on("FnApiRunner")) as engines:
        assert score_day(day.request(engines=engines)).action == "committed"
    assert len(seen) == 2
    assert set.union(*seen) - others == set()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_another_user_of_the_machine_reaches_neither_prism_nor_the_pool(day, prism_engines) -> None:
    score_day(day.request(engines=prism_engines))
    backend = beam_engine(prism_engines)._backend
    assert isinstance(backend, PrismBackend)
    for address in (backend.server.address, backend.pool.address):
        path = address.removeprefix("unix:")
        assert _asked(path).stdout == "served\n"
        assert "PermissionError" in _asked(path, user=NOBODY, group=NOBODY).stderr


def _asked(path: str, **who: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/usr/bin/env", "python3", "-I", "-c", ASK, path], capture_output=True, text=True, cwd="/", check=False, **who
    )


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Iterator[tuple[Path, Callable[..., str]]]:
    """The folder of a pool without processes, for what has to be refused before one is asked, and how to ask it."""
    from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

    folder = tmp_path_factory.mktemp("pool")
    pool = WorkerPool(0, folder / "pool")
    with grpc.insecure_channel(pool.address) as channel:
        client = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)

        def ask(**endpoints: str) -> str:
            named = {f"{name}_endpoint": {"url": url} for name, url in endpoints.items()}
            return str(client.StartWorker(beam_fn_api_pb2.StartWorkerRequest(worker_id="w", **named)).error)

        yield folder, ask
    pool.close()


ADDRESSES = st.one_of(
    st.text(max_size=20),
    st.builds("{}:{}".format, st.sampled_from(["localhost", "127.0.0.1", "10.0.0.7", "[::1]"]), st.integers(1, 65535)),
    st.builds("unix:{}".format, st.sampled_from(["/var/x", "/var/../x", "x", ""])),
    st.builds("unix-abstract:{}".format, st.text("ab", max_size=3)),
)


@given(address=ADDRESSES, where=st.sampled_from(["control", "logging", "artifact", "provision"]))
def test_a_worker_takes_its_code_from_its_own_prism_alone(pool, address, where) -> None:
    folder, ask = pool
    own = dict.fromkeys(("control", "logging", "artifact", "provision"), f"unix:{folder}/prism")
    if not address and where != "control":
        return  # nothing is connected to
    assert "no worker is started" in ask(**own | {where: address})


def test_a_path_that_leads_out_of_the_folder_is_a_strangers_too(pool) -> None:
    folder, ask = pool
    assert "no worker is started" in ask(control=f"unix:{folder}/../elsewhere/prism")


def test_a_prism_that_can_only_listen_on_every_interface_is_refused(tmp_path) -> None:
    """As released, the program does not know the option, and ends before it listens anywhere."""
    released = tmp_path / "prism"
    released.write_text("#!/bin/sh\necho 'flag provided but not defined: -job_socket' >&2\nexit 2\n")
    released.chmod(0o755)
    with pytest.raises(UsageError, match="listens on every interface") as refused:
        backend_for(on("PrismRunner", f"--prism_location={released}", "--sdk_worker_parallelism=1").beam)
    assert "make prism" in refused.value.remedy


@pytest.mark.parametrize("runner", ["PrismRunner", "FnApiRunner", "FlinkRunner"])
@pytest.mark.parametrize(
    "option",
    [
        "--environment_type=LOOPBACK",
        "--environment_type=loopback",
        "--environment-type=LOOPBACK",
        "--direct_running_mode=multi_threading",
        "--direct_running_mode=multi_processing",
    ],
)
def test_an_option_that_opens_a_port_to_anybody_is_refused(runner, option) -> None:
    with pytest.raises(UsageError, match=r"engine\.beam\.options has"):
        backend_for(on(runner, option).beam)


@pytest.mark.parametrize("option", ["--environment_type=PROCESS", "--environment_config=localhost:50000"])
def test_workers_of_another_kind_need_the_server_that_they_are_for(option) -> None:
    with pytest.raises(UsageError, match="without --job_endpoint"):
        backend_for(on("PrismRunner", option).beam)
    assert isinstance(backend_for(on("PrismRunner", option, "--job_endpoint=localhost:1").beam), NamedBackend)


def test_what_is_built_is_what_the_engine_asks_for(prism) -> None:
    """Without a socket it listens on loopback; with one, on no port at all."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
    import build_prism

    sources = {name: "\n".join(old for old, _ in changes) for name, changes in build_prism.CHANGES.items()}
    for name, changes in build_prism.CHANGES.items():
        with pytest.raises(SystemExit):
            build_prism.changed(sources[name].replace(changes[0][0], ""), changes, name)
    shown = subprocess.run([prism, "--help"], capture_output=True, text=True, check=False)
    assert "-job_socket" in shown.stderr + shown.stdout
