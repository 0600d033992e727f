from __future__ import annotations

import pytest

from tallywright.errors import SpecError
from tallywright.gates.suite import parse_suite, read_suite


def read(file):
    return parse_suite(read_suite(file, "toy__features"), file, "toy__features")


@pytest.fixture
def written(tmp_path):
    def write(text):
        (tmp_path / "suite.yaml").write_text(text)
        return read(tmp_path / "suite.yaml")

    return write


def test_the_readable_form(written):
    suite = written("""
dataset: toy__features
expectations:
  - {expect: expect_column_values_to_be_between, column: x, min_value: 0, mostly: 0.9, severity: warning, notes: why}
  - {expect: expect_compound_columns_to_be_unique, column_list: [a, b]}
""")
    first, second = suite.expectations
    assert (first.name, first.severity, first.notes) == ("expect_column_values_to_be_between(x)", "warning", "why")
    assert first.arguments == {"column": "x", "min_value": 0, "mostly": 0.9}
    assert first.bound == "min_value=0, mostly=0.9"
    assert second.severity == "critical"
    assert second.name == "expect_compound_columns_to_be_unique(['a', 'b'])"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dataset: [", "suite.yaml"),
        ("just text", "suite.yaml"),
        ("", "suite.yaml"),
        ("dataset: toy__features\nexpectations: []", "expectations"),
        ("dataset: toy__features\nexpectatins: []", "did you mean 'expectations'?"),
        ("dataset: other\nexpectations: [{expect: expect_x}]", "found 'other'"),
        ("dataset: toy__features\nexpectations: [{expect: expect_x, severity: fatal}]", "expectations.0.severity"),
        ("dataset: toy__features\nexpectations: [{column: x}]", "expectations.0.expect"),
        ("dataset: toy__features\nexpectations: [{expect: 'ExpectX; drop'}]", "expectations.0.expect"),
    ],
)
def test_what_is_no_suite_is_refused_by_name(written, text, said):
    with pytest.raises(SpecError) as refused:
        written(text)
    assert said in str(refused.value)


def test_a_missing_suite_is_refused(tmp_path):
    with pytest.raises(SpecError, match="no such file"):
        read(tmp_path / "suite.yaml")
