"""Charts of answers: what is drawn, what is left out and said to be, in which room."""

from datetime import UTC, datetime

import pytest
from rich.console import Console

from schemas.clickhouse.queries import Chart, Table
from streams.cli.render.axes import cell_text, nice_ticks, number_text, scale_and_label, time_axis, value_axis
from streams.cli.render.bars import MOST_ROWS
from streams.cli.render.charts import MOST_PLAIN_SERIES, MOST_SERIES, Canvas, draw
from streams.cli.render.figures import DASH

LINE = Chart("line", "rate by hour", "hour", "ctr", by="campaign_id", unit="%")
POINTS = Chart("points", "arms", "arm", "ctr", low="low", high="high", at=0.0)


def drawn(table: Table, chart: Chart, *, width: int = 80, colours: bool = False) -> list[str]:
    """The chart's lines; with colours as the escape codes a terminal gets."""
    console = Console(width=width, force_terminal=colours, color_system="256" if colours else None)
    with console.capture() as capture:
        console.print(draw(table, chart, Canvas(width, 16, colours=colours)))
    return [line.rstrip() for line in capture.get().splitlines()]


def rates(campaigns: list[str], ctr: list[float | None]) -> Table:
    """One rate an hour from 2019-11-24 22:00 on, the same for every campaign."""
    rows = [
        [f"2019-11-{24 + (22 + hour) // 24} {(22 + hour) % 24:02}:00:00", campaign, each]
        for hour, each in enumerate(ctr)
        for campaign in campaigns
    ]
    return Table(("hour", "campaign_id", "ctr"), ("DateTime('UTC')", "String", "Float64"), rows)


def arms(rows: list[list[object]]) -> Table:
    """Arms with a rate and its interval."""
    return Table(("arm", "ctr", "low", "high"), ("String", *["Nullable(Float64)"] * 3), rows)


@pytest.mark.parametrize("kind", ["line", "points", "bar", "histogram"])
def test_an_answer_without_rows_says_so(kind: str) -> None:
    chart = Chart(kind, "arms", "arm", "ctr", low="low", high="high")
    assert drawn(arms([]), chart) == ["arms", "no rows"]


@pytest.mark.parametrize("kind", ["line", "points"])
def test_an_answer_without_a_value_says_so(kind: str) -> None:
    table = Table(("x", "ctr", "low", "high"), ("UInt8", *["Nullable(Float64)"] * 3), [[1, None, None, None]])
    assert drawn(table, Chart(kind, "arms", "x", "ctr", low="low", high="high"))[1] == "no row has a value of ctr"


def test_a_line_has_times_with_dates_where_they_change_and_its_unit() -> None:
    lines = drawn(rates(["k1"], [0.01, 0.02, 0.03, 0.04, 0.05]), LINE)
    assert lines[:2] == ["rate by hour", "k1"]
    assert lines[-2].split() == ["11-24", "22:00", "23:00", "11-25", "00:00", "01:00", "02:00"]
    assert lines[-1] == "ctr, % by hour, UTC, 2019-11-24 to 2019-11-25"
    assert lines[2].startswith("5┤")


@pytest.mark.parametrize("width", [60, 100])
@pytest.mark.parametrize("colours", [False, True])
def test_no_line_is_wider_than_the_room(width: int, colours: bool) -> None:
    long = ["k" * 60, "l" * 60]
    lines = drawn(rates(long, [0.01, 0.02]), LINE, width=width)
    assert max(map(len, lines)) <= width
    lines = drawn(arms([["a" * 60, 0.1, 0.0, 0.2]]), POINTS, width=width)
    assert max(map(len, lines)) == width
    assert "a" * 23 + "…" in lines[3]
    # What a long name does not take is left to the interval.
    assert len(lines[3]) >= width - 2


def test_colours_are_for_those_who_have_them() -> None:
    table = rates(["k1", "k2"], [0.01, 0.02])
    assert "\x1b" in "".join(drawn(table, LINE, colours=True))
    plain = drawn(table, LINE)
    assert "\x1b" not in "".join(plain)
    assert plain[1] == "A k1   B k2"
    assert any("B" in line for line in plain[2:])


@pytest.mark.parametrize(("colours", "most"), [(True, MOST_SERIES), (False, MOST_PLAIN_SERIES)])
def test_too_many_lines_are_left_out_and_said_to_be(colours: bool, most: int) -> None:
    names = [f"k{at}" for at in range(most + 1)]
    assert not any("lines shown" in line for line in drawn(rates(names[1:], [0.01, 0.02]), LINE, colours=colours))
    lines = drawn(rates(names, [0.01, 0.02]), LINE, colours=colours)
    assert f"{most} of {most + 1} lines shown (campaign_id)" in lines[-1]
    assert names[-1] not in "".join(lines)


def test_a_line_is_broken_where_a_value_is_missing() -> None:
    chart = Chart("line", "rate", "hour", "ctr")
    # Dots of a braille line fill the plot's columns; a gap leaves some empty.
    filled = {
        at for line in drawn(rates(["k1"], [1, 1, 1, 1, 1]), chart)[1:-2] for at, one in enumerate(line) if one > "⠀"
    }
    broken = {
        at for line in drawn(rates(["k1"], [1, 1, None, 1, 1]), chart)[1:-2] for at, one in enumerate(line) if one > "⠀"
    }
    assert len(filled) > len(broken) + 20


def test_an_interval_is_drawn_to_scale_with_the_mark() -> None:
    lines = drawn(arms([["a", 0.0, -1.0, 1.0], ["b", 1.0, 0.5, 1.0]]), POINTS)
    first, second = lines[3], lines[4]
    assert first.index("●") == pytest.approx((first.index("├") + first.index("┤")) / 2, abs=1)
    assert (first.index("●"), first.index("┤")) == (second.index("┊"), second.index("●"))
    assert lines[1].split() == ["arm", "ctr", "-1.0", "1.0"]


def test_rows_without_an_interval_and_rows_too_many_are_counted() -> None:
    rows: list[list[object]] = [["none", None, None, None], *[[f"a{at}", 1.0, 0.0, 2.0] for at in range(MOST_ROWS + 5)]]
    lines = drawn(arms(rows), POINTS)
    assert lines[-2] == f"the first {MOST_ROWS} of {MOST_ROWS + 5} rows shown; --format csv has all"
    assert lines[-1] == f"1 of {MOST_ROWS + 6} rows have no interval of ctr"
    assert sum("●" in line for line in lines) == MOST_ROWS


def test_bars_are_as_long_as_their_values() -> None:
    table = Table(("name", "spend_micros"), ("String", "Int64"), [["a", 10**6], ["b", 5 * 10**5], ["c", None]])
    lines = drawn(table, Chart("bar", "spend", "name", "spend_micros"))
    assert lines[1].split() == ["name", "spend,", "currency", "units"]
    assert [line.split()[1] for line in lines[3:5]] == ["1.00", "0.50"]
    assert lines[3].count("█") == pytest.approx(2 * lines[4].count("█"), abs=1)
    assert lines[5] == "1 of 3 rows have no value of spend_micros"


def test_a_histogram_counts_rows_or_what_they_weigh() -> None:
    table = Table(("delay_ms", "clicks"), ("Int64", "Int64"), [[500, 3], [1_500, 1], [1_600, 1], [20_000, 2]])
    counted = [line.split()[:4] for line in drawn(table, Chart("histogram", "delays", "delay_ms"))[3:]]
    assert (counted[0], counted[1], counted[19][3]) == (["0", "to", "1", "1"], ["1", "to", "2", "2"], "1")
    weighed = [line.split()[3] for line in drawn(table, Chart("histogram", "delays", "delay_ms", "clicks"))[3:]]
    assert [weighed[0], weighed[1], weighed[19]] == ["3", "2", "2"]


def test_ticks_are_round_and_hold_all_values() -> None:
    assert nice_ticks(0.0, 0.97, 5) == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    assert nice_ticks(7.0, 7.0, 4)[0] < 7.0 < nice_ticks(7.0, 7.0, 4)[-1]
    assert value_axis([3.0, 100.0], 4).low == 0.0
    assert value_axis([99.0, 100.0], 4).low == 99.0
    assert [number_text(value, step) for value, step in ((1234567.0, 10), (0.05, 0.01), (-0.0, 0.1))] == [
        "1,234,567",
        "0.05",
        "0.0",
    ]


def test_units_are_read_from_names() -> None:
    assert scale_and_label("ctr", "%") == (100.0, "ctr, %")
    assert scale_and_label("spend_micros", "") == (1e-6, "spend, currency units")
    assert scale_and_label("median_ms", "") == (1e-3, "median, s")
    assert scale_and_label("clicks", "") == (1.0, "clicks")


def test_days_apart_are_told_by_dates_alone() -> None:
    start = datetime(2019, 11, 24, tzinfo=UTC).timestamp()
    axis = time_axis(start, start + 6 * 86_400, 8)
    assert axis.labels == ["11-24", "11-25", "11-26", "11-27", "11-28", "11-29", "11-30"]
    assert time_axis(start, start, 8).low < start < time_axis(start, start, 8).high


def test_what_is_empty_is_called_by_a_dash() -> None:
    assert [cell_text(value) for value in (None, "", 0, "k1")] == [DASH, DASH, "0", "k1"]
