from __future__ import annotations

import pickle

import pytest

from tallywright.data.delta.lake import Lake
from tallywright.data.storage.options import ENDPOINT, REGION, is_true, option, store_options, with_process_options
from tallywright.errors import SpecError

SECRET = "do-not-show-me"  # noqa: S105 - it is none


def test_values_never_show():
    options = store_options("s3://bucket/lake", {"AWS_SECRET_ACCESS_KEY": SECRET})
    copied = pickle.loads(pickle.dumps(options))  # noqa: S301 - as engines send it to their workers
    for text in (repr(options), str(options), f"{options}", f"{[options]}", repr(copied)):
        assert SECRET not in text
        assert "AWS_SECRET_ACCESS_KEY" in text
    assert dict(options)["AWS_SECRET_ACCESS_KEY"] == SECRET
    assert SECRET not in repr(vars(Lake("s3://bucket/lake", {"AWS_SECRET_ACCESS_KEY": SECRET})))


def test_commits_are_conditional_and_patience_is_bounded_on_s3_alone():
    assert store_options("s3://bucket/lake", {}) == {
        "aws_conditional_put": "etag", "connect_timeout": "5s", "timeout": "20s", "max_retries": "3",
        "retry_timeout": "15s",
    }  # fmt: skip
    assert store_options("/srv/lake", {"a": "b"}) == {"a": "b"}
    own = store_options("s3a://bucket/lake", {"TIMEOUT": "60s", "AWS_CONDITIONAL_PUT": "etag"})
    assert own["TIMEOUT"] == "60s"
    assert not {"timeout", "aws_conditional_put"} & set(own)
    assert "aws_conditional_put" not in store_options("s3://b/lake", {"AWS_S3_LOCKING_PROVIDER": "dynamodb"})


@pytest.mark.parametrize(
    "unsafe",
    [{"AWS_S3_ALLOW_UNSAFE_RENAME": "true"}, {"allow_unsafe_rename": "1"}, {"aws_conditional_put": "Disabled"}],
)
def test_options_that_let_commits_overwrite_one_another_are_refused(unsafe):
    with pytest.raises(SpecError, match="overwrite one another"):
        Lake("s3://bucket/lake", unsafe)


def test_the_environment_may_not_make_commits_unsafe_either(monkeypatch):
    monkeypatch.setenv("AWS_S3_ALLOW_UNSAFE_RENAME", "true")
    with pytest.raises(SpecError, match="AWS_S3_ALLOW_UNSAFE_RENAME"):
        Lake("s3://bucket/lake")


def test_an_option_is_found_by_any_name_and_before_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_REGION", "from-the-environment")
    assert option({}, REGION) == "from-the-environment"
    assert option({"Region": "given"}, REGION) == "given"
    assert option({"aws_endpoint": "a"}, ENDPOINT) == "a"
    assert option({"AWS_ENDPOINT_URL": ""}, ENDPOINT) is None
    monkeypatch.setenv("REGION", "not an option of the environment")
    monkeypatch.delenv("AWS_REGION")
    assert option({}, REGION) is None


@pytest.mark.parametrize(("text", "truth"), [("true", True), (" ON ", True), ("0", False), ("", False), (None, False)])
def test_truth_as_stores_read_it(text, truth):
    assert is_true(text) is truth


def test_what_the_environment_adds_travels_to_workers_elsewhere(monkeypatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "theirs")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-Secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    given = {"access_key_id": "ours", "AWS_ALLOW_HTTP": "true", "timeout": "20s"}
    found = with_process_options("s3://bucket/lake", given)
    added = {"aws_secret_access_key": "a-Secret", "aws_region": "eu-west-1"}
    assert dict(found) == given | added
    assert "a-Secret" not in repr(found)
    assert with_process_options("/a/folder", {}) == {}


def test_without_keys_nothing_travels_and_each_machine_finds_its_own() -> None:
    assert with_process_options("s3://bucket/lake", {}) == {}
