"""The live view: frames as golden text, numbers from canned pages, silence as dashes."""

# ruff: noqa: RUF001  # the dash that stands for what is not known is one

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from schemas.bounds import END_OF_TIME_MS, NO_BOUND_MS
from schemas.codec import encode
from schemas.pacing import PacingDecision
from streams.cli.render.figures import Bar, moment, span, sparkline
from streams.cli.render.live import FeedStatus, Live, line, render
from streams.cli.render.measures import Measures
from streams.cli.render.sources import LogFigures, Rate, Samples, Snapshot, Sources
from streams.inputs.feed import FeedProgress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

NOON_MS = 1_574_856_000_000  # 2019-11-27 12:00 UTC
DAY_MS = 86_400_000
MICROS = 1_000_000


def decision(campaign_id: str, state: str, *, spend: int, plan: int, budget: int) -> PacingDecision:
    """A decision; amounts in currency units."""
    micros = (budget * MICROS, spend * MICROS, plan * MICROS)
    return PacingDecision(campaign_id, 4, NOON_MS, NOON_MS, state, 0.5, *micros, 900, 2)  # type: ignore[arg-type]  # a name of a state


SNAPSHOT = Snapshot(
    events_per_s=893.4,
    open_impressions=1_204,
    pending_clicks=3,
    impressions=LogFigures(37_120, 0, 2, 0, NOON_MS - 120_000, 120),
    clicks=LogFigures(180, 3, 0, 1, END_OF_TIME_MS, 0),
    billable=171,
    repeat=0,
    orphan=6,
    learned=36_010,
    waiting=4,
    unmeasured=250,
    drift="",
    measures=Measures(36_010, 36_010.0, 171.0, 176.0, 1_076.7),
    last_day_measures=Measures(9_000, 9_000.0, 40.0, 50.0, 250.0),
    pacing=(
        decision("all", "behind", spend=412, plan=700, budget=1_500),
        decision("men", "ahead", spend=412, plan=300, budget=500),
        decision("women", "exhausted", spend=2_012, plan=1_200, budget=2_000),
    ),
    rows_held=0,
    sink_lag_records=12,
    tables={"minute_totals": 36_020, "outcome_rows": 36_010, "ledger_rows": 4},
)
PLAY = FeedStatus(37_300, NOON_MS, NOON_MS - 3 * DAY_MS, NOON_MS + 3 * DAY_MS, speed=10_020.0)

FRAME = """\
 feed  ██████████████████████████████████████████▌··········································   50 %
 event time 2019-11-27 12:00 UTC   speed 10,020x   sent 37,300   ETA 0:26

 join           accepted    late  duplicate rejected      lag    watermark UTC
 impressions      37,120       0          2        0      120 2019-11-27 11:58
 clicks              180       3          0        1        0              end
 of clicks    billable 171   repeat 0   orphan 6   pending 3
 at work      open impressions 1,204   events/s 893

 model          learned    waiting  unmeasured   log loss  calibration
 all windows     36,010          4         250    0.02990         1.03
 last 24 h                                        0.02778         1.25

 pacing           spend     budget  │ plan                                                state
 all             412.00   1,500.00  ██████████████▎·········│···························  behind
 men             412.00     500.00  ███████████████████████████████│██████████▉·········  ahead
 women         2,012.00   2,000.00  ███████████████████████████████│████████████████████  exhausted

 ClickHouse   lag 12   held 0
 minute 36,020   outcome 36,010   ledger 4
"""
SILENT = """\
 feed  ·································································    – %
 event time – UTC   speed –   sent 0   ETA –

 join           accepted    late  duplicate rejected      lag    watermark UTC
 impressions           –       –          –        –        –                –
 clicks                –       –          –        –        –                –
 of clicks    billable –   repeat –   orphan –   pending –
 at work      open impressions –   events/s –

 model          learned    waiting  unmeasured   log loss  calibration
 all windows          –          –           –          –            –
 last 24 h                                              –            –

 pacing           spend     budget  │ plan                            state
 –                    –          –                                    –

 ClickHouse   lag –   held –
 rows –
"""

PAGE = """\
# HELP clickfold_records_total Records folded while live.
# TYPE clickfold_records_total counter
clickfold_records_total 310.0
# TYPE clickfold_open_impressions gauge
clickfold_open_impressions{partition="0"} 7.0
clickfold_open_impressions{partition="1"} 5.0
# TYPE clickfold_ledger_total counter
clickfold_ledger_total{fate="accepted",log="impressions",partition="0"} 200.0
clickfold_ledger_total{fate="accepted",log="impressions",partition="1"} 90.0
clickfold_ledger_total{fate="late",log="impressions",partition="0"} 4.0
clickfold_ledger_total{fate="accepted",log="clicks",partition="0"} 6.0
# TYPE clickfold_watermark_seconds gauge
clickfold_watermark_seconds{log="impressions",partition="0"} 1574856000.0
clickfold_watermark_seconds{log="impressions",partition="1"} 1574855940.5
# TYPE clickfold_decisions_total counter
clickfold_decisions_total{decision="billable",partition="0"} 3.0
# TYPE clickfold_outcomes gauge
clickfold_outcomes{fate="late",shard="0"} 8.0
# TYPE clickfold_drift gauge
clickfold_drift{direction="more_clicks",shard="0"} 1.0
clickfold_drift{direction="fewer_clicks",shard="0"} 0.0
# TYPE clickfold_sink_rows_total counter
clickfold_sink_rows_total{table="minute_totals"} 42.0
"""


def text_of(snapshot: Snapshot, status: FeedStatus | None, *, width: int, color: bool = False) -> str:
    """A frame as printed on a terminal of so many columns, without trailing spaces."""
    console = Console(width=width, file=StringIO(), record=True, force_terminal=color, legacy_windows=False)
    console.print(render(snapshot, status, width=width))
    return "\n".join(row.rstrip() for row in console.export_text(styles=color).splitlines()) + "\n"


@pytest.fixture
def pages() -> Iterator[tuple[str, dict[str, bytes]]]:
    """The URL of a server, and the pages it serves; a path without a page is 404."""
    served: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = served.get(self.path)
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", served
        server.shutdown()
        thread.join()


def test_a_frame_is_its_golden_text() -> None:
    assert text_of(SNAPSHOT, PLAY, width=100) == FRAME


def test_what_no_source_says_is_a_dash() -> None:
    assert text_of(Snapshot(), FeedStatus(0, 0), width=80) == SILENT


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_a_frame_fits_the_terminal(width: int) -> None:
    many = tuple(decision(f"campaign-{at}", "ahead", spend=10**6 + at, plan=1, budget=10**7) for at in range(40))
    big = LogFigures(99_000_000, 1_000, 1_000, 1_000, NOON_MS, 1_000_000)
    snapshot = Snapshot(impressions=big, clicks=big, pacing=many, drift="more_clicks", tables=SNAPSHOT.tables)
    rows = text_of(snapshot, PLAY, width=width).splitlines()
    assert (len(rows) <= 24, max(map(len, rows)) <= width) == (True, True)
    assert "…" not in "".join(rows)
    assert "and 36 more" in "".join(rows)


def test_nothing_is_cut_at_80_columns() -> None:
    rows = text_of(SNAPSHOT, PLAY, width=80)
    assert "…" not in rows
    for whole in ("watermark UTC", "2019-11-27 11:58", "exhausted", "calibration", "ETA 0:26"):
        assert whole in rows


def test_colours_are_those_readable_on_black_and_on_white() -> None:
    shown = text_of(SNAPSHOT, PLAY, width=100, color=True)
    assert not any(f"\x1b[{code}m" in shown for code in (30, 33, 34, 37, 93, 97))
    assert "\x1b[36m" in shown


def test_a_pipe_gets_a_plain_line_every_few_seconds() -> None:
    now_s = [100.0]
    console = Console(file=StringIO(), width=80)
    feed = FeedProgress(impressions=37_120, clicks=180, event_ms=NOON_MS)
    with Live(console, first_ms=PLAY.first_ms, last_ms=PLAY.last_ms, clock=lambda: now_s[0]) as live:
        for _ in range(11):
            live.update(SNAPSHOT, feed)
            now_s[0] += 1.0
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]  # a StringIO, above
    assert lines == [line(SNAPSHOT, PLAY)] * 3
    assert "\x1b" not in lines[0]


def test_a_terminal_gets_frames_with_the_measured_speed() -> None:
    now_s = [100.0]
    console = Console(file=StringIO(), width=100, height=40, force_terminal=True, legacy_windows=False)
    with Live(console, clock=lambda: now_s[0]) as live:
        live.update(SNAPSHOT, FeedProgress())
        live.update(SNAPSHOT, FeedProgress(event_ms=NOON_MS))
        now_s[0] += 2.0
        live.update(SNAPSHOT, FeedProgress(event_ms=NOON_MS + 20_000_000))
    shown = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO, above
    assert "10,000x" in shown
    assert "– %" in shown


def test_a_finished_feed_is_whole() -> None:
    assert FeedStatus(10, 0, done=True).share == 1.0
    assert "all sent" in text_of(Snapshot(), FeedStatus(10, 0, done=True), width=80)


def test_sources_add_up_partitions_and_take_the_lowest_bound(pages: tuple[str, dict[str, bytes]]) -> None:
    url, served = pages
    served["/metrics"] = PAGE.encode()
    campaigns = {"b": decision("b", "ahead", spend=1, plan=1, budget=9), "a": None}
    served["/pacing"] = encode({"campaigns": campaigns, "event_lag_ms": 5, "next_offsets": {}})
    metrics = f"{url}/metrics"
    now_s = [10.0]
    sources = Sources(
        join_metrics=metrics,
        learn_metrics=metrics,
        sink_metrics=metrics,
        pacing=f"{url}/pacing",
        clock=lambda: now_s[0],
    )
    first = sources.read()
    served["/metrics"] = PAGE.replace("310.0", "410.0").encode()
    now_s[0] += 2.0
    snapshot = sources.read()
    assert (first.events_per_s, snapshot.events_per_s) == (None, 50.0)
    assert snapshot.open_impressions == 12
    assert snapshot.impressions == LogFigures(290, 4, None, None, 1_574_855_940_500, None)
    assert (snapshot.billable, snapshot.orphan, snapshot.drift) == (3, None, "more_clicks")
    assert (snapshot.unmeasured, snapshot.consumed) == (8, 300)
    assert snapshot.rows_written == {"minute_totals": 42}
    assert [each.campaign_id for each in snapshot.pacing or ()] == ["b"]


def test_sources_that_are_silent_or_talk_nonsense_are_unknown(pages: tuple[str, dict[str, bytes]]) -> None:
    url, served = pages
    served["/nonsense"] = b'<html>{ "\xff'

    from clickhouse_connect.driver.exceptions import OperationalError

    def nobody() -> "Client":
        raise OperationalError("refused")

    for path in ("/nonsense", "/missing"):
        source = f"{url}{path}"
        sources = Sources(join_metrics=source, learn_metrics="http://127.0.0.1:1/metrics", pacing=source, client=nobody)
        assert sources.read() == Snapshot()
    assert Snapshot().consumed == 0


def test_a_number_that_is_none_is_left_out() -> None:
    assert Samples(b"clickfold_lag_records NaN\n").total("clickfold_lag_records") is None


def test_a_rate_is_of_the_last_seconds_and_begins_anew_after_a_restart() -> None:
    rate = Rate(over_s=5.0)
    assert rate.add(1_000, at_s=0.0) is None
    assert [rate.add(1_000 + 10 * at, at_s=float(at)) for at in range(1, 8)] == [10.0] * 7
    assert rate.add(1_170, at_s=8.0) == 28.0  # 140 more than at second 3
    assert rate.add(4, at_s=9.0) is None


def test_bars_and_sparklines_stay_within_bounds() -> None:
    console = Console(width=10, file=StringIO(), record=True, legacy_windows=False)
    for bar in (Bar(-1.0), Bar(0.55), Bar(7.0), Bar(0.5, tick=2.0), Bar(0.5, tick=0.0)):
        console.print(bar)
    rows = console.export_text().splitlines()
    assert rows == ["··········", "█████▌····", "██████████", "█████····│", "│████·····"]
    assert sparkline([None, 0.0, 4.0, 8.0, 99.0], highest=8.0) == "·▁▅██"
    assert sparkline([0.0], highest=0.0) == "▁"


def test_moments_and_spans_read_as_people_write_them() -> None:
    assert [moment(at) for at in (None, NO_BOUND_MS, NOON_MS, END_OF_TIME_MS)] == ["–", "–", "2019-11-27 12:00", "end"]
    assert [span(at) for at in (7.4, 750.0, 3_723.0)] == ["0:07", "12:30", "1:02:03"]
