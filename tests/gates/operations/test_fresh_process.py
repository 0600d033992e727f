"""The fresh process has the recorded dependencies and the standard library, no pickle and no network."""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys

import numpy as np
import pytest

from tallywright.gates.operations.dependencies import link_dependencies

CONFINED = "from tallywright.gates.operations.confinement import confine; confine()\n"


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modules")
    link_dependencies(["numpy", "onnxruntime", "pyarrow", "tallywright"], folder)
    return folder


@pytest.fixture
def run(modules):
    def start(program, *arguments):
        first = f"import sys; sys.path.append({str(modules)!r})\n"
        command = [sys.executable, "-I", "-S", "-B", "-c", first + program, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return start


def test_what_is_not_recorded_cannot_be_imported(run):
    names = ("torch", "mlflow", "sklearn", "pandas", "onnx", "safetensors", "pytest", "google.cloud")
    program = """
from importlib.util import find_spec
import numpy, onnxruntime, pyarrow, tallywright.packaging.predictor
def there(name):
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False
raise SystemExit([name for name in sys.argv[1:] if there(name)] or 0)
"""
    done = run(program, *names)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("loads", ["pickle.loads", "__import__('_pickle').loads"])
def test_nothing_is_unpickled(run, loads):
    done = run(f"{CONFINED}import pickle\n{loads}({pickle.dumps(np.float64)!r})")
    assert done.returncode == 1
    assert "packages hold none" in done.stderr


def test_nobody_is_reached(run):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        open_to_all = run(f"import socket; socket.create_connection(('127.0.0.1', {port}), timeout=5)")
        assert open_to_all.returncode == 0
        server.accept()[0].close()
        done = run(f"{CONFINED}import socket\nsocket.create_connection(('127.0.0.1', {port}), timeout=5)")
        assert "a score needs no network" in done.stderr
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()


def test_native_code_reaches_nobody_either(run):
    """An audit hook does not see libc; the empty network of the process does."""
    program = """
from tallywright.gates.operations.confinement import confine
how = confine()
import ctypes
if "namespace" not in how:
    raise SystemExit(77)
libc = ctypes.CDLL(None, use_errno=True)
class Address(ctypes.Structure):
    _fields_ = [("family", ctypes.c_uint16), ("port", ctypes.c_uint16), ("ip", ctypes.c_uint32), ("0", ctypes.c_uint64)]
number = libc.socket(2, 1, 0)
address = Address(2, int.from_bytes(int(sys.argv[1]).to_bytes(2, "big"), sys.byteorder), 0x0100007F, 0)
raise SystemExit(0 if libc.connect(number, ctypes.byref(address), 16) != 0 else 1)
"""
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = run(program, str(server.getsockname()[1]))
    if done.returncode == 77:
        pytest.skip("this kernel gives no network namespace to this user")
    assert done.returncode == 0, done.stderr
