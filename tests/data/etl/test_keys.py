from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.data.etl.day_checks import require_unique
from tallywright.errors import InputError

KEYS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=12)


@given(KEYS)
def test_finds_exactly_the_repeated_keys(keys):
    table = pa.table(
        {"a": pa.array([a for a, _ in keys], pa.string()), "b": pa.array([b for _, b in keys], pa.int32())}
    )
    repeated = {key for key in keys if keys.count(key) > 1}
    if not repeated:
        require_unique(table, ["a", "b"], "rows")
        return
    with pytest.raises(InputError, match=f"rows: {len(repeated)} keys occur more than once") as caught:
        require_unique(table, ["a", "b"], "rows")
    assert all(f"a={a}, b={b}" in caught.value.found for a, b in sorted(repeated)[:5])


def test_a_null_is_no_key():
    with pytest.raises(InputError, match="1 of 2 rows have no k"):
        require_unique(pa.table({"k": ["x", None]}), ["k"], "rows")


def test_dictionaries_and_chunks():
    chunks = pa.chunked_array([pa.array(["x", "y"]).dictionary_encode(), pa.array(["z", "x"]).dictionary_encode()])
    with pytest.raises(InputError, match="k=x"):
        require_unique(pa.table({"k": chunks}), ["k"], "rows")
