"""What the pictures draw, read from their styles."""

import pytest

from augpro.report.charts import Artist, Series

BAR = "stroke: var(--accent); stroke-width: 2;"


@pytest.mark.parametrize(
    ("values", "bar"), [([0.8, 0.81], True), ([0.8, 0.8], False), ([0.8] * 3, False), ([0.8], False)]
)
def test_there_is_no_interval_where_no_variance_was_seen(values, bar):
    artist = Artist()
    artist.dots([Series("none", values)], {"teacher": 0.9}, "accuracy", "in words")
    assert (BAR in artist.styles) == bar
