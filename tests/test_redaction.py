"""No secret is shown, whatever the form of the address or the setting that it stands in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tallywright import redaction
from tallywright.cli.spec_commands import validate
from tallywright.errors import SpecError, TallyError, TrackingError
from tallywright.redaction import keep_secrets, without_credentials
from tallywright.spec.load import load_environment

SECRET = "hunter2pw"  # noqa: S105 - what must not be seen
"""Stands somewhere in each secret, and nowhere else."""


around = st.text(st.sampled_from("ab1/@:?#%&=;+$~!*.,_-[]()"), max_size=4)
odd = st.text(st.sampled_from("ab /@:'\"\\<>`|^{}é%20\t"), max_size=4)
hosts = st.sampled_from(["db.example.com", "10.0.0.7:5432", "[::1]:80", "h", ""])
schemes = st.sampled_from(["postgresql", "mysql+pymysql", "http", "https", "s3", "mssql+pyodbc", "redis"])
names = st.sampled_from(["token", "password", "api_key", "X-Amz-Signature", "k", "sig", "auth"])


@st.composite
def addresses(draw: st.DrawFn, letters: st.SearchStrategy[str] = around) -> str:
    """An address with the secret as the password, as the user, or in the query."""
    password = draw(letters) + SECRET + draw(letters)
    if draw(st.booleans()):
        password = quote(password, safe="")
    scheme, host, path = draw(schemes), draw(hosts), draw(st.sampled_from(["", "/", "/db", "/a/b"]))
    form = draw(st.integers(0, 3))
    if form == 0:
        return f"{scheme}://{draw(st.sampled_from(['u', 'u.v', '']))}:{password}@{host}{path}"
    if form == 1:
        return f"{scheme}://{password}@{host}{path}"
    value = quote(password, safe="") if form == 2 else SECRET
    return f"{scheme}://{host}{path}?a=1&{draw(names)}={value}"


@given(
    address=addresses(),
    before=st.sampled_from(["", "MLflow at ", "url='", "(", "a:"]),
    after=st.sampled_from(["", "'", " x"]),
)
@example("http://h/?token=hunter2pw", "", "")
@example("postgresql://u:a/hunter2pw@h/db", "", "")
@example("postgresql://u:p@hunter2pw@h/db", "", "")
def test_an_address_is_shown_without_its_secrets(address, before, after) -> None:
    shown = without_credentials(f"{before}{address}{after}")
    assert SECRET not in shown
    assert shown.startswith(before)
    assert shown.endswith(after)


@given(address=addresses(odd))
def test_what_the_overlay_gives_is_hidden_in_whatever_form_it_is_repeated(address) -> None:
    """Also a password with spaces and quotes, and one that a driver shows decoded or as a Python text."""
    redaction._known.clear()
    keep_secrets({"tracking": {"uri": address}})
    for shown in (
        address,
        f"<{address}>",
        repr(address),
        str([address]),
        json.dumps({"uri": address}, ensure_ascii=False),
    ):
        assert SECRET not in without_credentials(shown), shown


@pytest.mark.parametrize(
    "text",
    [
        "Pwd=hunter2pw;Server=h",
        "password='hunter2pw' host=h",
        'password="hunter2pw x"',
        "AccountKey=hunter2pw==",
        "{'secret_access_key': 'hunter2pw'}",
        '{"token": "hunter2pw"}',
        "AWS_SECRET_ACCESS_KEY=hunter2pw",
        "spark.hadoop.fs.s3a.secret.key=hunter2pw",
        "/api/2.0/x?access_token=hunter2pw (Caused by",
        "Authorization-Token=hunter2pw",
    ],
)
def test_a_value_after_the_name_of_a_secret_is_hidden(text) -> None:
    assert SECRET not in without_credentials(text)


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////work/project/.tally/mlflow.db",
        "s3://bucket/lake/a__scores/part-1.parquet has 3 rows",
        "Owner <owner@example.com>, see https://example.com/docs/page#part",
        "the key (order_id, day) is not unique: 'a=b'",
        "tally promote m --version 1 --by WHO --key FILE",
        "registry.approver_keys has no key of 'ann'",
    ],
)
def test_other_texts_stay_as_they_are(text) -> None:
    assert without_credentials(text) == text


@pytest.mark.parametrize("cls", [TallyError, SpecError, TrackingError])
def test_an_error_holds_no_secret(cls) -> None:
    error = cls("no http://u:hunter2pw@h", expected="password=hunter2pw", remedy="http://h?token=hunter2pw")
    assert SECRET not in f"{error} {error.args} {error.__dict__}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "models/shop").mkdir(parents=True)
    (tmp_path / "conf").mkdir()
    (tmp_path / "models/shop/model.yaml").write_text("name: shop\n")
    (tmp_path / "conf/local.yaml").write_text("{}\n")
    return tmp_path


OVERLAYS = [
    lambda secret: {"tracking": secret},
    lambda secret: {"tracking": {"uri": [secret]}},
    lambda secret: {"tracking": {"uri": {"address": secret}}},
    lambda secret: {"tracking": {"url": secret}},
    lambda secret: {"tracking": {"uri": secret, "artifacts": 3}},
    lambda secret: {"storage": {"lake": [secret]}},
    lambda secret: {"storage": {"options": secret}},
    lambda secret: {"storage": {"options": {"secret_access_key": [secret]}}},
    lambda secret: {"storage": {"connection": "x", "options": {"secret_access_key": secret}}},
    lambda secret: {"storage": secret},
    lambda secret: {"engine": {"spark": {"conf": {"spark.hadoop.fs.s3a.secret.key": [secret]}}}},
    lambda secret: {"engine": {"spark": {"conf": [secret]}}},
    lambda secret: {"engine": {"beam": {"options": [secret]}}},
    lambda secret: {"models": secret},
    lambda secret: {"models": [secret]},
]


@settings(max_examples=60)
@given(address=addresses(st.one_of(around, odd)), place=st.sampled_from(OVERLAYS))
def test_validate_shows_no_value_of_an_overlay_that_is_wrong(tmp_path_factory, address, place) -> None:
    redaction._known.clear()
    root = tmp_path_factory.getbasetemp() / "wrong"
    for name, text in (("models/shop/model.yaml", "name: shop\n"), ("conf/local.yaml", yaml.safe_dump(place(address)))):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    with pytest.raises(SpecError) as refused:
        load_environment(root=root)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "overlay",
    [
        "engine: {spark: {conf: {spark.hadoop.fs.s3a.secret.key: 271828182845}}}",
        "tracking: {uri: 271828182845}",
        "storage: {lake: 271828182845}",
    ],
)
def test_a_number_is_no_less_a_secret(root, overlay) -> None:
    (root / "conf/local.yaml").write_text(overlay)
    done = CliRunner().invoke(validate, ["--root", str(root)])
    assert "271828182845" not in done.output + str(done.exception)
    assert isinstance(done.exception, SystemExit | SpecError)


@pytest.mark.parametrize("said", ["tracking=http://u:hunter2pw@h", "storage.options.token.x=hunter2pw"])
def test_a_set_that_is_wrong_is_named_without_its_value(root, said) -> None:
    done = CliRunner().invoke(validate, ["shop", "--root", str(root), "--set", f"environment.{said}"])
    assert SECRET not in done.output + str(done.exception)
    assert said.partition("=")[0].split(".")[0] in done.output + str(done.exception)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    "uri",
    [
        "http://u:a/hunter2pw@127.0.0.1:9",
        "http://127.0.0.1:9/?token=hunter2pw",
        "postgresql+psycopg2://u:hunter2pw@127.0.0.1:9/db",
    ],
)
def test_doctor_and_every_logger_below_it_show_no_secret(root, uri, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    (root / "conf/local.yaml").write_text(yaml.safe_dump({"tracking": {"uri": uri}}))
    command = [sys.executable, "-m", "tallywright", "-v", "doctor", "--root", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "tracking" in done.stdout
    assert SECRET not in done.stdout + done.stderr


def test_every_logger_of_the_process_writes_without_secrets() -> None:
    program = (
        "import logging; from tallywright.observability import configure_logging; configure_logging();"
        "logging.basicConfig(); log = logging.getLogger('urllib3.connectionpool');"
        "log.warning('retry %s', 'http://u:hunter2pw@h');"
        "\ntry: raise ValueError('postgresql://u:hunter2pw@h')\nexcept ValueError: log.exception('failed')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "retry http://***@h" in done.stderr
    assert "ValueError: postgresql://***@h" in done.stderr
    assert SECRET not in done.stderr
