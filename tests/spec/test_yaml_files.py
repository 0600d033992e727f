"""YAML has one meaning: scalars as a reader sees them, references put in once, layers laid over as plain values."""

from __future__ import annotations

import os
import re
from pathlib import Path
from unittest import mock

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from tallywright.errors import SpecError
from tallywright.spec.yaml_files import merged, parse_mapping, read_mapping

HERE = Path("model.yaml")
SCALARS = [
    "1e-3", "1e3", "1.5e5", "1_000", "0x1f", "0b11", "0o17", ".5", ".5e-3", "5.", "-.inf", ".nan",
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


class Writer(yaml.SafeDumper):
    """Quotes a text that YAML 1.2 takes for a number and YAML 1.1 does not, such as `1e3`."""


Writer.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9.]+[eE][-+]?[0-9]+$"), [*"-+.0123456789"])


def read(text: str, *, conf: bool = True) -> object:
    return parse_mapping(HERE, text, conf=conf)


def by_omegaconf(*layers: object) -> object:
    return OmegaConf.to_container(OmegaConf.merge(*(OmegaConf.create(layer) for layer in layers)), resolve=True)


@pytest.mark.parametrize("scalar", SCALARS)
def test_a_scalar_means_what_it_means_to_omegaconf(scalar: str) -> None:
    text = f"key: {scalar}\n"
    assert repr(read(text)) == repr(OmegaConf.to_container(OmegaConf.create(text), resolve=True))


@pytest.mark.parametrize("scalar", ["017", "1:30", "14:00", "-014", "1:30.5", "1:2:3", "00", "0_7"])
def test_nothing_is_read_in_base_60_or_base_8(scalar: str) -> None:
    assert read(f"key: {scalar}\n") == {"key": scalar}


@given(TREES)
@example("0E0")
@example("-1e3")
def test_a_tree_is_what_was_written(tree: object) -> None:
    text = yaml.dump({"key": tree}, allow_unicode=True, Dumper=Writer)
    try:
        found = read(text.replace("${", "$ {"))
    except SpecError:
        return  # a character that no table can hold
    assert repr(_sorted(found)) == repr(_sorted(yaml.safe_load(text.replace("${", "$ {"))))


def _sorted(tree: object) -> object:
    """With keys in order: how they are written decides nothing."""
    if isinstance(tree, dict):
        return {key: _sorted(tree[key]) for key in sorted(tree)}
    return [_sorted(inner) for inner in tree] if isinstance(tree, list) else tree


@given(MAPPINGS, MAPPINGS)
def test_layers_are_merged_as_omegaconf_merges_them(base: dict[str, object], layer: dict[str, object]) -> None:
    try:
        expected = by_omegaconf(base, layer)
    except Exception:  # noqa: BLE001 - here a layer replaces what does not fit it, and validation refuses that
        return
    assert repr(merged(base, layer, [])) == repr(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "a list; expected a mapping of sections"),
        ("a: [\n", "model.yaml:2: "),
        ("1: a\n", "the key 1"),
        ("no: a\n", "the key no, which is no text"),
        ("a: !!set {b}\n", "tag !!set"),
        ("a: !!binary aGVsbG8=\n", "tag !!binary"),
        ("a: !!int x\n", "which is no int"),
        ("a: !!timestamp x\n", "tag !!timestamp"),
        ("a: !!python/name:os.system x\n", "tag !!python/name:os.system"),
        ("a: 1\nb: 2\na: 3\n", "model.yaml:3: duplicate key a"),
        ("a: {b: 1, b: 2}\n", "model.yaml:1: duplicate key b"),
        ("? [a]\n: b\n", "unhashable"),
        ('a: "\\0"\n', "no table can hold"),
        (f"a: 0x{'f' * 100}\n", "256 bits"),
        (f"a: {'9' * 5000}\n", "4300"),
        (f"x: {'[' * 1000}{']' * 1000}\n", "model.yaml:1: nested deeper than 50"),
        (f"x: {'[' * 60}{']' * 60}\n", "nested deeper than 50"),
        (f"x:\n  {'- ' * 70000}a\n", "model.yaml:2: nested deeper than 50"),
        ("x: " + "{a: " * 300_000, "nested deeper than 50"),
        ("a: &x [*x]\n", "nested deeper than 50"),
        ("\tx: 1\n", "cannot start any token"),
        ("a: *b\n", "undefined alias"),
        ("a: 1\n---\nb: 2\n", "expected a single document"),
    ],
)
def test_what_is_no_spec_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("model.yaml:")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("!!int 1:30", "found '1:30', which is no int"),
        ("!!int 017", "found '017', which is no int"),
        ("!!float 1:30", "found '1:30', which is no float"),
        ('!!int ""', "found '', which is no int"),
        ("!!bool maybe", "found 'maybe', which is no bool"),
        (f"!!int {'9' * 5000}", "limit"),
        ("!!binary aGk=", "the tag !!binary is not read here"),
        ("!!set {x}", "the tag !!set is not read here"),
        ("!!timestamp 2025-01-01", "the tag !!timestamp is not read here"),
        ("!!python/name:os.system x", "the tag !!python/name:os.system is not read here"),
        ("{on: 1}", "found the key on, which is no text to YAML; quote it"),
        ("{1: 1}", "found the key 1, which is no text to YAML; quote it"),
    ],
)
def test_a_tag_changes_no_meaning_and_what_cannot_be_read_has_its_line(value: str, message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)) as raised:
        read(f"first: 1\nkey: {value}\n")
    assert "model.yaml:2: " in str(raised.value)


def test_a_tag_that_says_what_stands_there_anyway_is_read() -> None:
    assert read("key: [!!int 17, !!float 14, !!float 1.5, !!bool yes, !!str 5]\n") == {
        "key": [17, 14.0, 1.5, True, "5"]
    }


def test_a_text_of_aliases_that_grows_without_end_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(SpecError, match="more than 200000 values"):
        read("\n".join(lines))


def test_merge_keys_are_merged_and_do_not_grow_without_end() -> None:
    assert read("a: &x {n: 1, m: 2}\nb: {<<: *x, n: 3}\nc: {<<: *x}\n") == {
        "a": {"n": 1, "m": 2},
        "b": {"n": 3, "m": 2},
        "c": {"n": 1, "m": 2},
    }
    lines = ["a0: &a0 {x: 1, y: 2}"]
    lines += [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 60)]
    with pytest.raises(SpecError, match="merges without end"):
        read("\n".join(lines))


@pytest.mark.parametrize(("content", "message"), [(b"a: \xff\n", "0xff at 3 is not UTF-8"), (None, "is a folder")])
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "model.yaml"
    file.mkdir() if content is None else file.write_bytes(content)
    with pytest.raises(SpecError, match=message):
        read_mapping(file)


def test_a_byte_order_mark_is_no_character(tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_mapping(file) == {"a": 1}


NAMES = ("TALLY_A", "TALLY_B", "TALLY_UNSET")
ENVIRONMENT = {"TALLY_A": "one", "TALLY_B": "7: {x}"}
parts = st.one_of(
    st.sampled_from(["a", "/", ".tally", "sqlite:///", "", "5", " ", "\\\\", "'", "$", "\\${", "}", "${other}"]),
    st.builds("${{oc.env:{}}}".format, st.sampled_from(NAMES)),
    st.builds(
        "${{oc.env:{},{}}}".format,
        st.sampled_from(NAMES),
        st.sampled_from(
            [".tally", "/srv/x-1", "http://127.0.0.1:5000", "null", "true", "5", "1e3", '""', "a b", "nan", "'q'"]
        ),
    ),
)


@given(st.lists(parts, min_size=1, max_size=4).map("".join))
def test_references_of_a_conf_file_are_what_omegaconf_puts_in(text: str) -> None:
    document = yaml.safe_dump({"key": text, "list": [text], "other": 7})
    with mock.patch.dict(os.environ, ENVIRONMENT):
        os.environ.pop("TALLY_UNSET", None)
        try:
            expected = OmegaConf.to_container(OmegaConf.create(document), resolve=True)
        except Exception:  # noqa: BLE001 - whatever OmegaConf refuses
            with pytest.raises(SpecError):
                read(document)
            return
        assert read(document) == expected


def test_a_variable_of_ours_that_is_empty_counts_as_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of no text would be the root of the file system."""
    monkeypatch.setenv("TALLYWRIGHT_HOME", "")
    monkeypatch.setenv("TALLY_A", "")
    assert read("a: ${oc.env:TALLYWRIGHT_HOME,.tally}/lake\nb: '${oc.env:TALLY_A,x}'") == {"a": ".tally/lake", "b": ""}
    with pytest.raises(SpecError, match="the environment has no variable TALLYWRIGHT_HOME"):
        read("a: ${oc.env:TALLYWRIGHT_HOME}/lake")


SECRETS = st.text(st.sampled_from("a${}\\:,oc.env'\" [&*#"), max_size=12) | st.sampled_from(
    ["pa${ss", "${oc.env:MY_SECRET}", "${key}", "\\${x}", "${oc.env:TALLY_D}"]
)


@given(SECRETS)
def test_the_text_of_a_variable_is_never_read_again(secret: str) -> None:
    with mock.patch.dict(os.environ, {"TALLY_D": secret, "MY_SECRET": "hunter2pw"}):
        found = read("key: ${oc.env:TALLY_D}\nthere: a ${key} b\nlist: ['${oc.env:TALLY_D}']\n")
        assert found == {"key": secret, "there": f"a {secret} b", "list": [secret]}
        assert merged({"key": "x"}, found, ["other=1"])["key"] == secret  # type: ignore[arg-type]


def test_an_escaped_reference_is_a_text() -> None:
    assert read("a: costs \\${5}\n", conf=False) == {"a": "costs ${5}"}
    assert merged({}, {}, ["a=costs \\${5}"]) == {"a": "costs ${5}"}


def test_a_model_refers_to_its_own_keys_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2pw")
    found = read("a: {n: 3, l: [1, 2]}\nb: ${a.n}\nc: ${a}\nd: x${a.l[1]}\ne: {f: '${.g}', g: 1}\n", conf=False)
    assert found == {"a": {"n": 3, "l": [1, 2]}, "b": 3, "c": {"n": 3, "l": [1, 2]}, "d": "x2", "e": {"f": 1, "g": 1}}
    for text in (
        "${oc.env:MY_SECRET}",
        "${oc.env:MY_SECRET,x}",
        "${oc.decode:${oc.env:MY_SECRET}}",
        "${${r}:MY_SECRET}",
        "${oc.select:a}",
        "x${ oc.env:MY_SECRET }",
    ):
        with pytest.raises(SpecError, match="in conf/ alone") as caught:
            read(f"a: 1\nr: oc.env\nb: '{text}'\n", conf=False)
        assert "hunter2pw" not in str(caught.value)


@pytest.mark.parametrize("conf", [True, False])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: ${a}\n", "refers to itself"),
        ("a: ${b}\nb: ${a}\n", "refers to itself"),
        ("a: {b: '${a}'}\n", "refers to itself"),
        ("a: ${b.c}\nb: 1\n", "no key b.c"),
        ("a: {b: 1}\nc: x${a}\n", "puts a section into a text"),
        ("a: ${..b}\n", "so far above"),
        ("k0: 1\n" + "".join(f"k{n}: ${{k{n - 1}}}\n" for n in range(1, 2000))[::-1][::-1], ""),
        ("\n".join(reversed(["k0: 1", *(f"k{n}: ${{k{n - 1}}}" for n in range(1, 2000))])), "more than 100 times"),
        ("k0: xxxxxxxxxx\n" + "".join(f"k{n}: ${{k{n - 1}}}${{k{n - 1}}}\n" for n in range(1, 60)), "1000000"),
    ],
)
def test_references_end(text: str, message: str, conf: bool) -> None:  # noqa: FBT001
    if not message:
        assert read(text, conf=conf)
        return
    with pytest.raises(SpecError, match=message):
        read(text, conf=conf)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("data.key=[a", "data.key=[a"),
        ("data.key[0]=x", "'key[0]' is no key"),
        ("a..b=1", "'' is no key"),
        ("a={b: 1, b: 2}", "duplicate key b"),
        ("a=!!int x", "which is no int"),
        (f"a={'[' * 1000}{']' * 1000}", "nested deeper"),
        ("a=${oc.env:HOME}", "has a reference"),
        ("a=['${b}']", "has a reference"),
        (".".join("a" * 90) + "=1", "too deep"),
    ],
)
def test_a_set_that_is_no_key_and_value_is_refused_in_its_words(given: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        merged({}, {}, [given])
    assert message in caught.value.found
    assert "\n" not in caught.value.found
    assert "--set section.key=value, such as --set training.seed=8" in caught.value.expected
