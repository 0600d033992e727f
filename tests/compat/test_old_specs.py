"""Four specs of an earlier version mean what they meant to it, and the digests in records are recognised.

`expected.json` is what the version f58f321 itself made of them: the reference project, the sample of `tally init`, and
two specs of tests. That the sample gives the same rows is shown over its lake in `test_old_lake`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tallywright.spec.load import with_defaults
from tallywright.spec.model import ModelSpec

SPECS = Path(__file__).resolve().parents[1] / "fixtures/specs"
EXPECTED: dict[str, Any] = json.loads((SPECS / "expected.json").read_text("utf-8"))


def differences(told: Any, before: Any, at: str = "") -> list[str]:
    """The keys of before that mean something else now; there may be more keys."""
    if not isinstance(before, dict):
        return [] if told == before else [f"{at}: {told!r}, and was {before!r}"]
    if not isinstance(told, dict):
        return [f"{at}: {told!r}"]
    return [found for key, value in before.items() for found in differences(told.get(key), value, f"{at}.{key}")]


@pytest.mark.parametrize("name", EXPECTED)
def test_an_old_spec_means_what_it_meant(name: str) -> None:
    values = yaml.safe_load((SPECS / f"{name}.yaml").read_text("utf-8"))
    assert "spec_version" not in values
    spec = ModelSpec.model_validate(with_defaults(values))
    means = dict(EXPECTED[name]["means"])
    assert means.pop("alerts") == {"log": True, "webhook_env": ""}  # the second is a key of `conf/` now
    assert spec.alerts.log
    assert differences(spec.model_dump(mode="json"), means) == []
    for section, digest in EXPECTED[name]["digests"].items():
        identity = getattr(spec, section).identity()
        assert identity.matches(digest)
        assert identity.oldest == digest


def test_the_four_are_different() -> None:
    assert len(EXPECTED) == len({json.dumps(one["means"]) for one in EXPECTED.values()}) == 4
