"""The quick reading of YAML says what OmegaConf says; whatever it cannot say is OmegaConf's to answer."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from tallywright.errors import SpecError
from tallywright.spec.yaml_files import _plain, merged, read_mapping

SCALARS = [
    "1e-3", "1e3", "1.5e5", "1_000", "0x1f", "0o17", "017", "1:30", "1:30.5", ".5", ".5e-3", "5.", "-.inf", ".nan",
    "2013-01-01", "2013-01-01T00:00:00Z", "yes", "No", "on", "true", "~", "null", "", "'1'", '"06:00"', "06:00",
    "0 4 * * *", "a b", "é", "[1, '2', 3.0]", "{a: 1}", "|\n  two\n  lines\n", ">-\n  two\n  lines\n", "$x",
]  # fmt: skip
"""What stands after a key."""
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
MAPPINGS = st.dictionaries(st.sampled_from(["a", "b", "c"]), TREES, max_size=3)


def by_omegaconf(*layers: object) -> object:
    return OmegaConf.to_container(OmegaConf.merge(*(OmegaConf.create(layer) for layer in layers)), resolve=True)


@pytest.mark.parametrize("scalar", SCALARS)
def test_a_scalar_means_what_it_means_to_omegaconf(scalar: str, tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    file.write_text(f"key: {scalar}\n")
    quick = _plain(file.read_text())
    assert quick is not None
    assert repr(quick) == repr(OmegaConf.to_container(OmegaConf.load(file), resolve=True))


@given(TREES)
def test_so_does_every_tree(tree: object) -> None:
    text = yaml.safe_dump({"key": tree}, allow_unicode=True)
    quick = _plain(text)
    if quick is not None:
        assert repr(quick) == repr(OmegaConf.to_container(OmegaConf.create(text), resolve=True))


@given(MAPPINGS, MAPPINGS)
def test_layers_are_merged_as_omegaconf_merges_them(base: dict[str, object], layer: dict[str, object]) -> None:
    try:
        expected = by_omegaconf(base, layer)
    except Exception:  # noqa: BLE001 - what OmegaConf refuses is refused in its words, below
        return
    assert repr(merged(Path("model.yaml"), base, layer, [])) == repr(expected)


@pytest.mark.parametrize(
    "text",
    [
        "a: ${b}\nb: 1\n",
        "a: &x {n: 1}\nb: {<<: *x}\n",
        "a: ???\n",
        "1: a\n",
        "- a\n",
        "a: 1\na: 2\n",
        "a: [\n",
        "!!set {a}\n",
    ],
)
def test_what_is_not_plain_is_left_to_omegaconf(text: str) -> None:
    assert _plain(text) is None


def test_a_text_of_aliases_that_grows_without_end_is_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    file = tmp_path / "model.yaml"
    file.write_text("\n".join(lines))
    with pytest.raises(SpecError, match=r"alias|expansion"):
        read_mapping(file)


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    file.write_text("training:\n  seed: 1\n  seed: 2\n")
    with pytest.raises(SpecError, match="duplicate key seed"):
        read_mapping(file)


NAMES = ("TALLY_A", "TALLY_B", "TALLY_UNSET")
ENVIRONMENT = {"TALLY_A": "one", "TALLY_B": "7: {x}"}
parts = st.one_of(
    st.sampled_from(["a", "/", ".tally", "sqlite:///", "", "5", " ", "\\\\", "'", "$"]),
    st.builds("${{oc.env:{}}}".format, st.sampled_from(NAMES)),
    st.builds(
        "${{oc.env:{},{}}}".format,
        st.sampled_from(NAMES),
        st.sampled_from(
            [".tally", "/srv/x-1", "http://127.0.0.1:5000", "null", "true", "5", "1e3", '""', "a b", "nan"]
        ),
    ),
)


@given(st.lists(parts, min_size=1, max_size=3).map("".join))
def test_what_comes_from_the_environment_is_what_omegaconf_puts_in(text: str) -> None:
    document = yaml.safe_dump({"key": text, "list": [text]})
    with mock.patch.dict(os.environ, ENVIRONMENT):
        os.environ.pop("TALLY_UNSET", None)
        found = _plain(document)
        if found is not None:
            assert found == OmegaConf.to_container(OmegaConf.create(document), resolve=True)


def test_the_overlays_of_a_project_need_no_omegaconf() -> None:
    for place in ("${oc.env:TALLY_UNSET,.tally}/lake", "sqlite:///${oc.env:TALLY_UNSET,.tally}/mlflow.db"):
        assert _plain(f"key: {place}") == {"key": place.replace("${oc.env:TALLY_UNSET,.tally}", ".tally")}
