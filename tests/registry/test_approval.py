"""Who approves: an answer or a signature is good for the very request that it is about, and for nothing else."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.errors import GateRefusedError, UsageError
from tallywright.registry.approval.authentication import KEY_VARIABLE, Request, answer, authentication, sign

REQUEST = Request("late_orders", "run-1", 2, "2025-04-02", "ann", "it is better")
FIELDS = {
    "model": st.text(max_size=8),
    "run_id": st.text(max_size=8),
    "version": st.none() | st.integers(1, 9),
    "effective_from": st.dates().map(str),
    "by": st.text(max_size=8),
    "reason": st.text(max_size=8),
}


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    """Files of private keys, as people make them, by name; the public half stands beside each."""
    folder = tmp_path_factory.mktemp("keys")
    for name, kind in (("ann", "ed25519"), ("airflow", "ed25519"), ("mallory", "ed25519"), ("other", "ecdsa")):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", f"{name}@example.com", "-f", str(folder / name)],
            check=True,
        )
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "a passphrase", "-f", str(folder / "locked")], check=True
    )
    return folder


def public(keys, *names):
    return {name: (keys / f"{name}.pub").read_text().strip() for name in names}


def known(request, keys, *, named=("ann",), signature="", handed=""):
    return authentication(request, public(keys, *named), signature=signature, handed=handed)


def test_without_an_answer_a_name_is_a_claim(keys) -> None:
    assert known(REQUEST, keys) == ""


def test_the_approvers_own_key_says_who_approves(keys) -> None:
    assert known(REQUEST, keys, signature=sign(REQUEST, keys / "ann")).startswith("key SHA256:")
    with pytest.raises(GateRefusedError, match="not by the key"):
        known(REQUEST, keys, signature=sign(REQUEST, keys / "mallory"))
    with pytest.raises(GateRefusedError, match="no key of 'mallory'"):
        known(replace(REQUEST, by="mallory"), keys, signature=sign(REQUEST, keys / "mallory"))


def test_the_fingerprint_is_the_one_that_ssh_shows(keys) -> None:
    shown = subprocess.run(["ssh-keygen", "-lf", str(keys / "ann.pub")], check=True, capture_output=True, text=True)
    assert known(REQUEST, keys, signature=sign(REQUEST, keys / "ann")) == f"key {shown.stdout.split()[1]}"


@given(changed=st.fixed_dictionaries({}, optional=FIELDS))
def test_an_answer_and_a_signature_are_about_one_request(keys, changed) -> None:
    other = replace(REQUEST, **changed)
    signature, handed = sign(REQUEST, keys / "ann"), answer(REQUEST, {})
    if other == REQUEST:
        assert known(other, keys, signature=signature)
        assert known(other, keys, handed=handed) == "airflow"
        return
    for given_ in ({"signature": signature}, {"handed": handed}):
        with pytest.raises(GateRefusedError):
            known(other, keys, **given_)


def test_where_the_spec_names_a_key_of_airflow_its_answers_are_signed(keys) -> None:
    named = ("ann", "airflow")
    with pytest.raises(GateRefusedError, match="is not signed"):
        known(REQUEST, keys, named=named, handed=answer(REQUEST, {}))
    with pytest.raises(GateRefusedError, match="not by the key"):
        known(REQUEST, keys, named=named, handed=answer(REQUEST, {KEY_VARIABLE: str(keys / "mallory")}))
    handed = answer(REQUEST, {KEY_VARIABLE: str(keys / "airflow")})
    assert known(REQUEST, keys, named=named, handed=handed).startswith("airflow, key SHA256:")


@pytest.mark.parametrize("handed", ["yes", "[]", "{}", '{"request": null}', '{"signature": ""}', "null", "7"])
def test_what_is_no_answer_is_refused(keys, handed) -> None:
    with pytest.raises(GateRefusedError, match="another promotion"):
        known(REQUEST, keys, handed=handed)


@pytest.mark.parametrize("signature", ["", "AA==", "no base64!", "é"])
def test_what_is_no_signature_is_refused(keys, signature) -> None:
    handed = json.dumps({"request": asdict(REQUEST), "signature": signature})
    with pytest.raises(GateRefusedError):
        known(REQUEST, keys, named=("airflow",), handed=handed)


@pytest.mark.parametrize("name", ["other", "locked", "ann.pub", "nowhere"])
def test_a_file_that_is_no_usable_key_is_named(keys, name) -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        sign(REQUEST, keys / name)
