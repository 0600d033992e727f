from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright import errors
from tallywright.orchestration.command import GuardedProcess, StepCommand, error_of, is_retryable
from tallywright.registry.approval.authentication import ANSWER_VARIABLE, KEY_VARIABLE

COMMAND = StepCommand(interpreter="/usr/bin/python", root=Path("/project"), model="flights", step="day_gate")


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def gone(pid: int, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


def test_the_command_line_is_what_a_person_would_type() -> None:
    options = {"effective-from": "2013-07-01", "by": "", "act": True, "force": False}
    assert COMMAND.argv(date(2013, 6, 27), "run 1", Path("/r.json"), options) == [
        "/usr/bin/python", "-m", "tallywright", "run", "flights", "day-gate",
        "--date=2013-06-27", "--run-id=run 1", "--result=/r.json", "--effective-from=2013-07-01", "--act",
    ]  # fmt: skip


def test_a_value_that_looks_like_an_option_or_a_shell_command_stays_one_argument() -> None:
    words = COMMAND.argv(date(2013, 6, 27), "r", Path("/r"), {"reason": "--force; $(reboot)"})
    assert words[-1] == "--reason=--force; $(reboot)"


def test_the_child_does_not_get_airflows_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "secret")
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", "secret")
    monkeypatch.setenv("AIRFLOW_CTX_DAG_ID", "kept")
    environment = COMMAND.environment()
    assert "secret" not in environment.values()
    assert environment["AIRFLOW_CTX_DAG_ID"] == "kept"
    assert environment["TALLYWRIGHT_ROOT"] == "/project"


MACHINE = {"USER", "LOGNAME", "SHELL", "HOSTNAME", "LANGUAGE", "TERM", "COLUMNS", "NO_COLOR", "TEMP", "TMP",
           "VIRTUAL_ENV", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY",
           "ALL_PROXY", "NO_PROXY", "JDK_JAVA_OPTIONS"}  # fmt: skip
NEEDED = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "OMP_NUM_THREADS",
          "https_proxy", "NO_PROXY", "SSL_CERT_FILE", "TALLYWRIGHT_ENV", "MLFLOW_TRACKING_TOKEN", "AWS_REGION",
          "AZURE_STORAGE_ACCOUNT_NAME", "GOOGLE_APPLICATION_CREDENTIALS", "JAVA_HOME", "SPARK_HOME", "HADOOP_CONF_DIR",
          "KRB5CCNAME", "PYSPARK_PYTHON"]  # fmt: skip


@given(
    names=st.sets(
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
        | st.sampled_from(
            ["AIRFLOW_HOME", "DATABASE_URL", "POSTGRES_PASSWORD", "VAULT_TOKEN", "SSH_AUTH_SOCK", "PATHS"]
        )
        | st.sampled_from([ANSWER_VARIABLE, KEY_VARIABLE, *NEEDED])
    )
)
def test_the_child_gets_what_a_step_needs_and_nothing_else(names: set[str]) -> None:
    """Whatever stands in the environment of Airflow's worker: a variable that nobody has listed is left out."""
    with pytest.MonkeyPatch.context() as patched:
        for name in os.environ:
            patched.delenv(name)
        for name in names:
            patched.setenv(name, "theirs")
        found = {name for name, value in COMMAND.environment().items() if value == "theirs"}
    listed = re.compile(
        "LC_.+|XDG_.+|PYTHON.+|DYLD_.+|(OMP|MKL|OPENBLAS|NUMEXPR|MALLOC|ARROW|CUDA|NVIDIA)_.+|AIRFLOW_CTX_.+"
        "|(TALLYWRIGHT|MLFLOW|AWS|AZURE|GOOGLE)_.+|(JAVA|SPARK|PYSPARK|HADOOP|YARN|KRB5|KUBERNETES|BEAM).*"
    )
    own = {"TALLYWRIGHT_ROOT", "PYTHONUNBUFFERED", ANSWER_VARIABLE, KEY_VARIABLE}
    assert names & set(NEEDED) <= found
    assert not found & own
    assert all(listed.fullmatch(name) or name.upper() in {*NEEDED, *MACHINE} for name in found)


def test_the_overlay_names_further_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/prod.yaml").write_text("storage: {options: {token: '${oc.env:LAKE_TOKEN}'}}\n")
    (tmp_path / "conf/local.yaml").write_text("tracking: {uri: '${oc.env:OTHER,sqlite:///x}'}\n")
    for name in ("LAKE_TOKEN", "OTHER", "A_MODELS_OWN", "NOBODYS"):
        monkeypatch.setenv(name, "theirs")
    monkeypatch.setenv("TALLYWRIGHT_ENV", "prod")
    command = replace(COMMAND, root=tmp_path, passed=("A_MODELS_OWN",))
    assert {name for name, value in command.environment().items() if value == "theirs"} == {
        "LAKE_TOKEN",
        "A_MODELS_OWN",
    }


def run(code: str, tmp_path: Path) -> tuple[int, list[str]]:
    process = GuardedProcess([sys.executable, "-c", code], dict(os.environ), tmp_path)
    lines = list(process.lines())
    exit_code = process.wait()
    process.stop()
    return exit_code, lines


def test_both_streams_arrive_in_order_with_the_exit_code(tmp_path: Path) -> None:
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr, flush=True); sys.exit(7)"
    exit_code, lines = run(code, tmp_path)
    assert exit_code == 7
    assert lines == ["out", "err"]


def test_a_signal_shows_in_the_exit_code(tmp_path: Path) -> None:
    assert run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", tmp_path)[0] == 128 + 9


def test_stop_ends_the_whole_group(tmp_path: Path) -> None:
    code = "import subprocess, time; print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"
    process = GuardedProcess([sys.executable, "-c", code], dict(os.environ), tmp_path)
    grandchild = int(next(process.lines()))
    process.stop()
    process.stop()
    assert gone(grandchild)
    assert not process.alive()


def test_a_stubborn_child_is_killed_in_the_end(tmp_path: Path) -> None:
    code = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        " print(os.getpid(), flush=True); time.sleep(600)"
    )
    process = GuardedProcess([sys.executable, "-c", code], dict(os.environ), tmp_path)
    child = int(next(process.lines()))
    process.stop()
    assert gone(child)


def test_a_grandchild_left_behind_ends_with_the_command(tmp_path: Path) -> None:
    code = (
        "import subprocess; print(subprocess.Popen(['sleep', '600'], stdout=subprocess.DEVNULL,"
        " stderr=subprocess.DEVNULL).pid)"
    )
    exit_code, lines = run(code, tmp_path)
    assert exit_code == 0
    assert gone(int(lines[0]))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_a_killed_task(number: int, tmp_path: Path) -> None:
    """The task process (here a small parent) is killed outright; the step it started ends all the same."""
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            (
                "import os, sys; from pathlib import Path\n"
                "from tallywright.orchestration.command import GuardedProcess\n"
                "code = 'import os, time; print(os.getpid(), flush=True); time.sleep(600)'\n"
                "for line in GuardedProcess([sys.executable, '-c', code], dict(os.environ), Path('.')).lines():\n"
                "    print(line, flush=True)"
            ),
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    step = int(parent.stdout.readline())
    assert alive(step)
    parent.send_signal(number)
    parent.wait()
    parent.stdout.close()
    assert gone(step)


def test_every_error_is_found_by_its_exit_code() -> None:
    for cls in (
        errors.InputError,
        errors.SpecError,
        errors.GateRefusedError,
        errors.StorageError,
        errors.TrackingError,
    ):
        assert error_of(cls.exit_code) is cls
        assert is_retryable(cls.exit_code) is cls.retryable


@pytest.mark.parametrize("code", [1, 70, 137, 143])
def test_a_crash_is_worth_a_retry(code: int) -> None:
    assert error_of(code) is None
    assert is_retryable(code)
