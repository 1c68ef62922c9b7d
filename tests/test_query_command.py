"""`clickfold query`: what it lists and refuses."""

from collections.abc import Callable, Sequence

import pytest
from typer.testing import CliRunner, Result

from schemas.clickhouse.queries import queries
from schemas.errors import ClickfoldError, SettingsError
from streams.cli.app import app
from streams.cli.commands.query import named_query, parameters

Run = Callable[..., str]


# Nobody answers here.
NOWHERE = "http://127.0.0.1:1"


def result(arguments: Sequence[str], *, url: str, database: str) -> Result:
    """What the command did, or raises what it raised."""
    environment = {"CLICKHOUSE_URL": url, "CLICKHOUSE_DATABASE": database}
    found = CliRunner().invoke(app, ["query", *arguments], env=environment)
    if isinstance(found.exception, ClickfoldError):
        raise found.exception
    assert found.exit_code == 0, found.output
    return found


def ask_nobody(*arguments: str) -> str:
    """What the command printed, or raises what it raised, where no ClickHouse answers."""
    return result(arguments, url=NOWHERE, database="").stdout


def test_without_a_name_every_query_is_one_line() -> None:
    listed = ask_nobody().splitlines()[: len(queries())]
    assert [line.split(maxsplit=1) for line in map(str.rstrip, listed)] == [
        [each.name, each.text] for each in queries().values()
    ]
    # Aligned: what each answers begins in one column.
    assert len({line.index(each.text) for line, each in zip(listed, queries().values(), strict=True)}) == 1


def test_the_verbose_list_has_every_parameter() -> None:
    listed = ask_nobody("--verbose")
    for each in queries().values():
        assert each.name in listed
        assert all(parameter.text in listed for parameter in each.parameters)


@pytest.mark.parametrize("name", queries())
def test_a_query_is_explained_without_a_clickhouse(name: str) -> None:
    query = queries()[name]
    explained = " ".join(ask_nobody(name, "--explain").split())
    assert f"{name}: {query.text}" in explained
    assert all(" ".join(note.split()) in explained for note in query.notes)
    assert all(parameter.text in explained for parameter in query.parameters)
    assert query.chart is None or query.chart.text in explained


def test_an_explanation_names_a_query_and_its_own_parameters() -> None:
    with pytest.raises(SettingsError, match="name one"):
        ask_nobody("--explain")
    with pytest.raises(SettingsError, match="takes no 'hour'"):
        ask_nobody("pacing", "--explain", "-p", "hour=3")


def test_arrow_is_not_written_to_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    for arguments in (["ledger"], ["--sql", "SELECT 1"]):
        with pytest.raises(SettingsError, match="a terminal cannot show"):
            app(["query", *arguments, "--format", "arrow"], standalone_mode=False)


def test_formats_a_question_has_no_answer_in_are_refused_before_asking() -> None:
    with pytest.raises(SettingsError, match="freshness has no chart; --format takes table, csv, json, arrow"):
        ask_nobody("freshness", "--format", "chart")
    with pytest.raises(SettingsError, match="draws named queries"):
        ask_nobody("--sql", "SELECT 1", "--format", "chart")
    with pytest.raises(SettingsError, match="this statement returns none"):
        ask_nobody("--sql", "DROP TABLE x", "--format", "arrow")


def test_a_clickhouse_that_does_not_answer_is_one_sentence() -> None:
    with pytest.raises(ClickfoldError, match=r"^ClickHouse: .*Connection refused"):
        ask_nobody("freshness")


def test_an_unknown_query_names_the_nearest() -> None:
    with pytest.raises(SettingsError, match="did you mean ctr_by_campaign_hour"):
        named_query("ctr_by_campaign", {})
    with pytest.raises(SettingsError, match=r"choose from .*click_delay, "):
        named_query("zzz", {})


def test_a_parameter_the_query_does_not_take_is_refused_before_asking() -> None:
    with pytest.raises(SettingsError, match=r"takes no --from \(since\); it takes campaign, rows"):
        ask_nobody("pacing", "--from", "2023-11-14")
    with pytest.raises(SettingsError, match="give one of them"):
        ask_nobody("pacing", "--sql", "SELECT 1")
    with pytest.raises(SettingsError, match="parameters are given without a query"):
        ask_nobody("--campaign", "k1")


def test_a_parameter_is_a_name_and_a_value() -> None:
    assert parameters(["campaign=a=b"], {"since": "2019-11-24", "until": None}) == {
        "campaign": "a=b",
        "since": "2019-11-24 00:00:00",
    }
    with pytest.raises(SettingsError, match="not NAME=VALUE"):
        parameters(["campaign"], {})


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-11-28", "2026-11-28 00:00:00"),
        ("2026-11-28 10:00", "2026-11-28 10:00:00"),
        ("2026-11-28T10:00:00Z", "2026-11-28 10:00:00"),
        ("2026-11-28T10:00:00+02:00", "2026-11-28 08:00:00"),
        ("2026-11-28T10:00:00-0530", "2026-11-28 15:30:00"),
        ("2026-11-28T10:00:00.000Z", "2026-11-28 10:00:00"),
        ("2026-11-28T10:00:00.500Z", "2026-11-28 10:00:01"),
        ("2026-11-28t10:00:00z", "2026-11-28 10:00:00"),
        ("2026-W48-6", "2026-11-28 00:00:00"),
        ("2026-332", "2026-11-28 00:00:00"),
        ("2026332T10:00+02:00", "2026-11-28 08:00:00"),
        ("2024-366", "2024-12-31 00:00:00"),
        ("2026-11-28T24:00:00", "2026-11-29 00:00:00"),
        ("20261128T24Z", "2026-11-29 00:00:00"),
        ("1700000000", "2023-11-14 22:13:20"),
    ],
)
def test_a_time_is_any_iso_8601_moment(text: str, utc: str) -> None:
    assert parameters([], {"since": text, "until": None}) == {"since": utc}
    assert parameters([f"until={text}"], {}) == {"until": utc}


def test_a_time_range_that_is_empty_is_refused() -> None:
    for until in ("2026-11-28T10:00:00Z", "2026-11-27"):
        with pytest.raises(SettingsError, match=rf"--from 2026-.* is not before --to {until}, so no row"):
            parameters([], {"since": "2026-11-28T12:00+02:00", "until": until})
    assert len(parameters([], {"since": "2026-11-28T12:00+02:00", "until": "2026-11-28T10:00:01Z"})) == 2


@pytest.mark.parametrize(
    "text",
    ["yesterday", "2026-13-01", "28.11.2026", "", "2026-366", "2026-000", "2026-11-28T24:00:01", "9999-12-31T24:00"],
)
def test_a_time_that_cannot_be_read_names_the_option_and_the_forms(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--to '.*' is not a time; write it as 2026-11-01, .*\+02:00"):
        parameters([], {"until": text})
