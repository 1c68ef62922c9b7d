"""Ids come from others: what they hold is shown on a terminal, and does not control it."""

from __future__ import annotations

import io
from unittest.mock import patch

import orjson
import pytest
from rich.console import Console

from schemas.clickhouse.queries import Chart, Table
from streams.cli.render.answers import Format, write, write_chart
from streams.cli.render.escape import escaped, escaped_json, escaped_lines

UNSAFE = "\x1b\x07\x00\x9b\x7f\u202e\u2066\u200f\u061c\u2028\ufeff\n\U000e0041"
SHOWN = r"\x1b\x07\x00\x9b\x7f\u202e\u2066\u200f\u061c\u2028\ufeff\n\U000e0041"
ANSWER = Table(
    ("campaign_id", "clicks", "names"),
    ("String", "UInt64", "Array(String)"),
    [[f"c{UNSAFE}", 3, [UNSAFE]], ["d", 2, []]],
)


def written(format_: Format, *, terminal: bool) -> str:
    out = io.StringIO()
    with patch("sys.stdout", out), patch.object(out, "isatty", lambda: terminal):
        write(ANSWER, format_)
    return out.getvalue()


def test_each_unsafe_character_is_shown_by_its_number_and_text_is_left_alone() -> None:
    assert escaped(f"c{UNSAFE}") == f"c{SHOWN}"
    assert escaped("Käse 日本 👩‍💻 \\x") == "Käse 日本 👩‍💻 \\x"
    assert escaped_lines("one\ntwo\x1b") == "one\ntwo\\x1b"


def test_json_keeps_its_meaning() -> None:
    text = orjson.dumps({"id": UNSAFE, UNSAFE: 1}, option=orjson.OPT_INDENT_2).decode()
    assert orjson.loads(escaped_json(text)) == orjson.loads(text)
    assert not set(UNSAFE) - {"\n"} & set(escaped_json(text))


@pytest.mark.parametrize("terminal", [True, False])
def test_a_table_shows_an_id_escaped_on_one_line(terminal: bool) -> None:
    text = written(Format.TABLE, terminal=terminal)
    assert "\\x1b\\x07\\x00" in text.replace("\n", "").replace(" ", "")
    assert not set(UNSAFE) - {"\n", "\x1b"} & set(text)


def test_a_csv_answer_is_exact_in_a_pipe_and_escaped_on_a_terminal() -> None:
    assert "c\x1b\x07\x00" in written(Format.CSV, terminal=False)
    assert f"c{SHOWN}" in written(Format.CSV, terminal=True)


def test_a_chart_shows_names_escaped() -> None:
    out = io.StringIO()
    chart = Chart(kind="bar", text="clicks", x="campaign_id", y="clicks")
    with patch("streams.cli.render.answers.terminal", lambda _: Console(file=out, width=100)):
        write_chart(ANSWER, chart)
    assert "c\\x1b\\x07" in out.getvalue()
    assert not set(UNSAFE) - {"\n"} & set(out.getvalue())
