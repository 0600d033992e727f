"""The project gives the same tables when Spark SQL runs its queries, rows that are set aside and all."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from loan_world import World, days_of, loans, project_over
from two_engines import assert_equal_on_all

pytestmark = [pytest.mark.spark, pytest.mark.long, pytest.mark.filterwarnings("ignore")]


@pytest.mark.usefixtures("spark")
def test_both_engines_make_the_same_tables(repository: Path, tmp_path: Path) -> None:
    first, last = days_of(date(2024, 3, 6), 2)
    texts = (f"duplicates:{last}:{last}:share=0.1", f"nulls:{last}:{last}:column=amount,share=0.1")
    world = World(1, 150, tuple(loans.parse_fault(text) for text in texts))
    project = project_over(world, [first, last], repository, tmp_path)
    days = assert_equal_on_all(project, tmp_path, first, last)
    assert days[0].quarantined == 0
    assert days[1].quarantined > 0.15 * days[1].rows
