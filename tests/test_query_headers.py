"""Headers of named queries: what of them is read, and what is refused."""

import pytest

from schemas.clickhouse.queries import Chart, parse
from schemas.errors import SettingsError

HEADER = """-- What it answers.
-- param: campaign String '' -- only this campaign
-- chart: {chart}
-- How to read it,
-- in two lines.
SELECT 1
-- not a note
"""


def chart(line: str) -> Chart | None:
    """The chart of a query with that chart line."""
    return parse("one", HEADER.format(chart=line)).chart


def test_a_header_says_how_to_read_the_answer_and_how_to_draw_it() -> None:
    query = parse("one", HEADER.format(chart="line x=hour y=ctr by=campaign_id unit=% at=1.5 -- rate by hour"))
    assert query.notes == ("How to read it,", "in two lines.")
    assert query.chart == Chart("line", "rate by hour", "hour", "ctr", by="campaign_id", unit="%", at=1.5)
    assert query.chart.columns == ("hour", "ctr", "campaign_id")


def test_points_may_be_named_by_several_columns() -> None:
    found = chart("points x=experiment,arm y=ctr low=low high=high -- rates")
    assert found is not None
    assert found.columns == ("experiment", "arm", "ctr", "low", "high")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("pie x=a y=b -- text", "kind of line, bar, histogram, points"),
        ("line x=a y=b", "is not '-- chart"),
        ("line x=a -- text", "lacks y="),
        ("points x=a y=b low=c -- text", "lacks high="),
        ("line x=a y=b colour=red -- text", "knows no colour="),
        ("line x=a y=b at=high -- text", "at= that is no number"),
    ],
)
def test_a_chart_that_cannot_be_read_is_refused(line: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        chart(line)


def test_a_second_chart_is_refused() -> None:
    with pytest.raises(SettingsError, match="second chart"):
        chart("line x=a y=b -- text\n-- chart: line x=a y=c -- text")
