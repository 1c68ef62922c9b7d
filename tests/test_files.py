"""Users' files are logs: every line that holds something is a record, whatever it holds."""

import gzip
import zlib
from pathlib import Path

import pytest

from schemas.bounds import JoinBounds
from schemas.errors import SettingsError
from schemas.events import Campaign
from schemas.records import Record
from streams.inputs.files import FileLog, read_campaigns, refuse_shared
from streams.inputs.opening import STDIN
from streams.verify.oracle import truth

GOOD = b'{"impression_id":"a-%d","ts":1574553617004,"campaign_id":"c","creative_id":"k","price_micros":1}'
CAMPAIGN = '{"campaign_id":"c","daily_budget_micros":5,"timezone":"%s","status":"active","pacing":"even","version":1}\n'


def written(folder: Path, *lines: bytes, name: str = "impressions.jsonl", end: bytes = b"\n") -> Path:
    """A file of these lines, compressed when its name says so."""
    data = end.join(lines) + end
    path = folder / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def test_plain_and_compressed_files_are_the_same_log(tmp_path: Path) -> None:
    lines = [GOOD % number for number in range(100)]
    plain = list(FileLog([written(tmp_path, *lines)], "impressions").records())
    assert plain == list(FileLog([written(tmp_path, *lines, name="impressions.jsonl.gz")], "impressions").records())
    assert plain == [Record(number, -1, b"a-%d" % number, line) for number, line in enumerate(lines)]


def test_a_compressed_file_may_have_any_name(tmp_path: Path) -> None:
    packed = written(tmp_path, GOOD % 1, name="impressions.jsonl.gz").rename(tmp_path / "impressions.log")
    assert [record.key for record in FileLog([packed], "impressions").records()] == [b"a-1"]


def test_lines_that_are_no_events_stay_records_and_become_rejects(tmp_path: Path) -> None:
    bad = [b"not json", b'{"ts":1}', b'{"impression_id":7}', b'"text"', b"\xff\xfe", b'{"impression_id":"a","ts":"x"}']
    records = list(FileLog([written(tmp_path, GOOD % 1, *bad, GOOD % 2)], "impressions").records())
    assert [record.value for record in records] == [GOOD % 1, *bad, GOOD % 2]
    assert [record.key for record in records] == [b"a-1", None, None, None, None, None, b"a", b"a-2"]
    judged = truth(records, [], JoinBounds()).impressions
    assert (judged.counts["accepted"], judged.counts["rejected"]) == (2, len(bad))


def test_blank_lines_are_passed_over_and_offsets_stay_line_numbers(tmp_path: Path) -> None:
    records = FileLog([written(tmp_path, GOOD % 1, b"", b" \t", GOOD % 2, b"")], "impressions").records()
    assert [record.offset for record in records] == [0, 3]


def test_files_written_on_windows_are_the_same_log(tmp_path: Path) -> None:
    windows = written(tmp_path, b"\xef\xbb\xbf" + GOOD % 1, GOOD % 2, end=b"\r\n")
    assert [record.value for record in FileLog([windows], "impressions").records()] == [GOOD % 1, GOOD % 2]


def test_a_last_line_without_newline_is_a_record(tmp_path: Path) -> None:
    path = tmp_path / "impressions.jsonl"
    path.write_bytes(GOOD % 1)
    assert [record.key for record in FileLog([path], "impressions").records()] == [b"a-1"]


def test_an_id_of_escapes_is_the_key_the_fold_expects(tmp_path: Path) -> None:
    line = (GOOD % 1).replace(b"a-1", rb"\u00e4\n")
    (record,) = FileLog([written(tmp_path, line)], "impressions").records()
    assert record.key == "ä\n".encode()
    assert truth([record], [], JoinBounds()).impressions.counts["accepted"] == 1


@pytest.mark.parametrize("most", [1, 3, 7, 8])
def test_batches_hold_the_same_records_as_columns(tmp_path: Path, most: int) -> None:
    path = written(tmp_path, *(GOOD % number for number in range(7)))
    batches = list(FileLog([path], "impressions").batches(most=most, partition=2))
    rows = [row for part in batches for row in zip(part.offsets, part.timestamps, part.keys, part.values, strict=True)]
    assert [Record(*row) for row in rows] == list(FileLog([path], "impressions").records())
    assert {(part.log, part.partition) for part in batches} == {("impressions", 2)}
    assert {len(part) for part in batches[:-1]} <= {most}


def test_an_empty_file_is_an_empty_log(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.touch()
    assert list(FileLog([path], "clicks").batches()) == []


def test_files_that_cannot_be_read_are_refused_before_the_first_record(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"clicks file .*nowhere\.jsonl does not exist"):
        FileLog([tmp_path / "nowhere.jsonl"], "clicks").records()
    with pytest.raises(SettingsError, match="is a folder; name its files"):
        FileLog([tmp_path], "clicks").records()
    misnamed = written(tmp_path, GOOD % 1).rename(tmp_path / "plain.gz")
    with pytest.raises(SettingsError, match="is not gzip"):
        FileLog([misnamed], "clicks").batches()


@pytest.mark.parametrize("damage", ["cut short", "flipped"])
def test_a_damaged_compressed_file_is_not_taken_for_its_first_half(tmp_path: Path, damage: str) -> None:
    path = written(tmp_path, *(GOOD % number for number in range(20_000)), name="impressions.jsonl.gz")
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 0xFF
    path.write_bytes(data[: len(data) // 2] if damage == "cut short" else data)
    with pytest.raises(SettingsError, match=r"damaged or cut short after line \d+"):
        list(FileLog([path], "impressions").records())


def test_campaigns_come_in_the_order_of_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "campaigns.jsonl"
    path.write_text(CAMPAIGN % "Asia/Tokyo" + "\n" + CAMPAIGN % "UTC")
    expected = [Campaign("c", 5, zone, "active", "even", 1) for zone in ("Asia/Tokyo", "UTC")]
    assert read_campaigns([path]) == expected


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{}\n", "campaign_id is missing; the line has no fields"),
        ("nonsense\n", "'nonsense' is no JSON object"),
        (
            CAMPAIGN % "Asia/Atlantis",
            "no time zone has the name 'Asia/Atlantis'; give an IANA name, such as Asia/Tokyo",
        ),
        (CAMPAIGN % "Asia", "no time zone has the name 'Asia'"),
        (CAMPAIGN % "../etc", "no time zone has the name '../etc'"),
        (CAMPAIGN % "", "no time zone has the name ''"),
        (CAMPAIGN % r"\u0000", r"no time zone has the name '\x00'"),
        (CAMPAIGN % "europe/berlin", "no time zone has the name 'europe/berlin'; is it Europe/Berlin?"),
    ],
)
def test_a_line_that_is_no_campaign_is_named(tmp_path: Path, line: str, why: str) -> None:
    path = tmp_path / "campaigns.jsonl"
    path.write_text(CAMPAIGN % "UTC" + line)
    with pytest.raises(SettingsError, match=r"line 2 of campaigns file") as refused:
        read_campaigns([path])
    assert why in str(refused.value)


def test_one_input_under_two_names_is_given_twice(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD % 1)
    link, hard = tmp_path / "link", tmp_path / "hard"
    link.symlink_to(path)
    hard.hardlink_to(path)
    for other in (path, link, hard):
        with pytest.raises(SettingsError, match=r"is given twice.*its records would be duplicates"):
            FileLog([path, other], "impressions")
    for stdin in (STDIN, Path("/dev/stdin"), Path("/dev/fd/0")):
        with pytest.raises(SettingsError, match="impressions standard input is given twice"):
            FileLog([STDIN, stdin], "impressions")
        with pytest.raises(SettingsError, match="standard input is given both as --impressions and as --clicks"):
            refuse_shared([STDIN], [stdin])


def test_a_log_that_is_given_plain_and_compressed_is_noted(tmp_path: Path) -> None:
    plain = written(tmp_path, GOOD % 1, GOOD % 2)
    paths = [plain, written(tmp_path, GOOD % 1, GOOD % 2, name="impressions.jsonl.gz")]
    log = FileLog(paths, "impressions")
    assert len(list(log.records())) == 4
    assert log.order.notes() == [
        f"{plain}.gz begins with the same record as {plain}; leave one out if both hold the same log"
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("*.jsonl", "is a pattern that the shell has not expanded; leave out the quotes"),
        ("*.json", "is a pattern that matches no file"),
        ("", "is a folder, as is an empty name"),
    ],
)
def test_a_name_of_no_file_is_said_to_be_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    written(tmp_path, GOOD % 1)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError) as refused:
        FileLog([Path(name)], "clicks")
    assert said in str(refused.value)


def test_every_whole_line_before_the_damage_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "impressions.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(GOOD % number + b"\n" for number in range(40_000)))[:-500])
    readable = zlib.decompressobj(wbits=31).decompress(path.read_bytes()).count(b"\n")
    with pytest.raises(SettingsError, match=f"is damaged or cut short after line {readable}: "):
        list(FileLog([path], "impressions").records())
    assert readable > 30_000
    path.write_bytes(path.read_bytes()[:5])
    with pytest.raises(SettingsError, match="is damaged or cut short before the end of its first line: "):
        list(FileLog([path], "impressions").records())
