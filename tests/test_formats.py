"""One content gives one set of outcomes, whatever the format, the compression and the encoding of its file."""

from __future__ import annotations

import bz2
import gzip
import io
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import SettingsError
from streams.formats import texts
from streams.formats.addresses import Address, address
from streams.formats.damage import Damaged
from streams.formats.texts import objects
from streams.inputs.files import FileLog, read_campaigns
from tests.factories import T0
from tests.mapped import IMPRESSIONS, REST, compiled, in_format

ROWS: list[dict[str, Any]] = [
    {
        "impression_id": f"i{n}",
        "ts": T0 + n,
        "campaign_id": f"c{n % 7}",
        "creative_id": "ü",
        "price_micros": n,
        "pctr": 0.5,
    }
    for n in range(2_500)
]
FORMATS = ("jsonl", "json", "csv", "parquet", "orc", "arrow", "stream", "avro")
if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Pack = Callable[[bytes], bytes]
PACKINGS: dict[str, Pack] = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zstd.compress}


def log_of(path: Path, **options: Any) -> FileLog:
    return FileLog([path], "impressions", **options)


def events(log: FileLog) -> list[Any]:
    return [orjson.loads(record.value or b"") for record in log.records()]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("packing", PACKINGS)
def test_every_format_gives_the_same_records_whatever_packs_it(tmp_path: Path, kind: str, packing: str) -> None:
    path = tmp_path / f"impressions.{kind}{packing}"
    path.write_bytes(PACKINGS[packing](in_format(ROWS, kind)))
    log = log_of(path)
    found = list(log.records())
    assert [orjson.loads(each.value or b"") for each in found] == ROWS
    assert [each.key for each in found] == [row["impression_id"].encode() for row in ROWS]
    # Numbers are those of the lines of the file: the first of a CSV has the names.
    assert log.place(found[7].offset).line == (9 if kind == "csv" else 8)
    assert log.part_read == 1.0


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_text_of_every_encoding_is_read(tmp_path: Path, kind: str, encoding: str) -> None:
    path = tmp_path / "impressions"
    path.write_bytes(gzip.compress(in_format(ROWS, kind).decode().encode(encoding)))
    assert events(log_of(path)) == ROWS


@pytest.mark.parametrize("kind", ["parquet", "orc", "arrow", "avro", "csv", "json"])
def test_a_pipe_is_read_in_every_format(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(Pipe(in_format(ROWS, kind))))
    assert events(log_of(Path("-"))) == ROWS


class Pipe(io.BytesIO):
    """Bytes that can be read once."""

    def seekable(self) -> bool:
        return False

    def seek(self, *place: int) -> int:
        raise io.UnsupportedOperation("a pipe")

    def tell(self) -> int:
        raise io.UnsupportedOperation("a pipe")


@given(
    st.lists(st.dictionaries(st.text(max_size=3), st.text('{}[]"\\,ü', max_size=6), max_size=3), max_size=6),
    st.sampled_from([b"", b"\n", b",", b" , \n", b"\x1e"]),
    st.integers(1, 9),
)
def test_objects_one_behind_the_other_are_found_wherever_a_read_ends(
    records: list[dict[str, str]], between: bytes, piece: int
) -> None:
    wanted = [orjson.dumps(record) for record in records]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(texts, "_PIECE_BYTES", piece)
        assert list(objects(io.BytesIO(b"[" + between.join(wanted) + b"]"))) == wanted


def test_an_object_that_the_file_ends_within_is_a_record_that_is_refused_and_the_others_are_read(
    tmp_path: Path,
) -> None:
    path = tmp_path / "cut.json"
    path.write_bytes(in_format(ROWS[:3], "json")[:-20])
    found = [record.value for record in log_of(path).records()]
    assert [orjson.loads(value or b"") for value in found[:2]] == ROWS[:2]
    assert len(found) == 3


@pytest.mark.parametrize("kind", ["parquet", "orc", "arrow", "avro"])
def test_a_typed_file_that_is_cut_in_the_middle_is_said_to_be(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"impressions.{kind}"
    whole = in_format(ROWS, kind)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        SettingsError, match=r"impressions file .* is \w+ and damaged or cut short (after row \d+|before)"
    ):
        list(log_of(path).records())


@pytest.mark.parametrize("packing", [".gz", ".bz2", ".zst"])
def test_a_compressed_file_that_is_cut_is_read_up_to_the_damage(tmp_path: Path, packing: str) -> None:
    path = tmp_path / f"impressions.jsonl{packing}"
    # bzip2 packs blocks of 900 kB.
    whole = PACKINGS[packing](in_format(ROWS, "jsonl") * 10)
    path.write_bytes(whole[: len(whole) // 2])
    found: list[Any] = []
    with pytest.raises(SettingsError, match="is damaged or cut short") as said:
        found.extend(log_of(path).records())
    if packing != ".zst":  # all of it is one block
        assert f"after line {len(found)}:" in str(said.value)
        assert len(found) > 1_000


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_mapped_file_that_is_cut_gives_every_record_before_the_damage(tmp_path: Path, kind: str) -> None:
    path, mapping = tmp_path / "impressions.gz", compiled(IMPRESSIONS + REST)
    rows = [{"i": f"i{n}", "t": T0 + n, "c": hash((n, "c")), "a": "x", "p": 5} for n in range(5_000)]
    whole = gzip.compress(in_format(rows, kind))
    path.write_bytes(whole[: len(whole) // 2])
    whole_lines = zlib.decompressobj(wbits=31).decompress(path.read_bytes()).count(b"\n") - (kind == "csv")
    found: list[Any] = []
    with pytest.raises(SettingsError, match="is damaged or cut short after line"):
        found.extend(log_of(path, mapping=mapping).records())
    # The text is unpacked by pieces, of which the last one may be missing.
    assert whole_lines - 300 <= len(found) <= whole_lines
    assert len(found) > 1_500


def test_a_row_with_other_cells_or_open_quotes_is_refused_and_the_rows_behind_it_are_read(tmp_path: Path) -> None:
    path = tmp_path / "impressions.csv"
    lines = in_format(ROWS[:3], "csv").decode().splitlines()
    path.write_text("\n".join([*lines[:2], "i9,5", '"i8"x,1,2,3,4,5', *lines[2:], "", '"open']))
    log = log_of(path)
    assert events(log) == ROWS[:3]
    (count, at, why), *rest = log.unmapped.groups()
    assert (count, log.place(at).line, why, rest) == (3, 3, "the row has 2 cells, not 6", [])


def test_a_row_that_is_not_utf8_is_refused_and_the_rows_beside_it_are_read(tmp_path: Path) -> None:
    path = tmp_path / "impressions.csv"
    lines = in_format(ROWS[:3], "csv").splitlines()
    path.write_bytes(b"\n".join([*lines[:2], lines[1].replace(b",", b"\xe9,", 1), *lines[2:]]))
    log = log_of(path)
    assert events(log) == ROWS[:3]
    assert [(count, log.place(at).line, why) for count, at, why in log.unmapped.groups()] == [
        (1, 3, "the row is not UTF-8")
    ]
    path.write_bytes(lines[0] + b",\xe9\n" + lines[1] + b",x\n")
    with pytest.raises(SettingsError, match="the line of names is not UTF-8"):
        events(log_of(path))


def test_a_blank_line_of_a_mapped_file_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "impressions.jsonl"
    row = {"i": "i1", "t": T0, "c": "c", "a": "a", "p": 7}
    path.write_bytes(orjson.dumps(row) + b"\n     \n" + orjson.dumps(row | {"i": "i2"}) + b"\n")
    log = log_of(path, mapping=compiled(IMPRESSIONS + REST))
    assert [each["impression_id"] for each in events(log)] == ["i1", "i2"]
    assert list(log.unmapped.groups()) == []


def test_columns_without_a_line_of_names_are_named_by_the_mapping(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text(f"i1|{T0}|c|a|7\ni2|{T0}|c|a|8\n")
    ready = compiled(IMPRESSIONS + REST + '[impressions.table]\ndelimiter = "|"\nnames = ["i", "t", "c", "a", "p"]')
    assert [each["price_micros"] for each in events(log_of(path, mapping=ready))] == [7, 8]


@pytest.mark.parametrize("kind", ["csv", "parquet", "avro"])
def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"impressions.{kind}"
    path.write_bytes(in_format([{"uid": 5, "price": 1.5}], kind))
    with pytest.raises(SettingsError, match=r"has no column impression_id; it has uid, price; .*`clickfold map guess`"):
        list(log_of(path).records())
    with pytest.raises(SettingsError, match=r"has no column i; it has uid, price; m.toml line 2, impression_id: give"):
        list(log_of(path, mapping=compiled(IMPRESSIONS + REST)).records())


def test_a_later_file_without_a_column_is_refused_too(tmp_path: Path) -> None:
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    paths[0].write_bytes(in_format(ROWS[:5], "parquet"))
    paths[1].write_bytes(in_format([{"uid": 5}], "parquet"))
    with pytest.raises(SettingsError, match=r"impressions file .*b\.parquet has no column impression_id"):
        list(FileLog(paths, "impressions").records())


def test_moments_decimals_structs_and_maps_of_parquet_are_read(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "typed.parquet"
    moment = pa.array([T0 * 1_000], pa.timestamp("us", "UTC"))
    columns = {
        "impression_id": pa.array([7]),
        "ts": moment,
        "campaign_id": pa.array(["c"]).dictionary_encode(),
        "creative_id": pa.array([b"x"]),
        "price_micros": pa.array([Decimal(5)]),
        "features": pa.array([{"age": 3, "seen": None}]),
    }
    pq.write_table(pa.table(columns), path)
    assert events(log_of(path)) == [
        {
            "impression_id": "7",
            "ts": T0,
            "campaign_id": "c",
            "creative_id": "x",
            "price_micros": 5,
            "features": {"age": 3},
        }
    ]


def test_campaigns_and_outcomes_are_read_from_tables(tmp_path: Path) -> None:
    path = tmp_path / "campaigns.csv"
    path.write_text("campaign_id,daily_budget_micros,timezone,status,pacing,version,currency\n7,5,UTC,active,even,1,\n")
    (campaign,) = read_campaigns([path])
    assert (campaign.campaign_id, campaign.daily_budget_micros, campaign.currency) == ("7", 5, None)
    outcomes = tmp_path / "outcomes.parquet"
    outcomes.write_bytes(in_format([{"kind": "click", "impression_id": "i", "label": 1}], "parquet"))
    assert [line for _, line in FileLog([outcomes], "outcomes").lines()] == [
        b'{"kind":"click","impression_id":"i","label":1}'
    ]


def test_an_address_keeps_its_slashes_and_is_read_through_fsspec() -> None:
    import fsspec

    assert address("a//b.csv") is None
    where = address("memory://bucket//impressions.parquet")
    assert isinstance(where, Address)
    assert str(where) == "memory://bucket//impressions.parquet"
    with fsspec.open(str(where), "wb") as file:
        file.write(in_format(ROWS, "parquet"))
    assert events(log_of(where)) == ROWS
    with pytest.raises(SettingsError, match=r"impressions file memory://bucket/none cannot be opened"):
        log_of(Address("memory://bucket/none"))
    with pytest.raises(SettingsError, match="holds credentials; give them in the environment"):
        log_of(Address("https://me:secret@host/file"))
    with pytest.raises(SettingsError, match=r"cannot be opened: Protocol not known: nowhere"):
        log_of(Address("nowhere://x"))


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_web_server_without_range_requests_is_read_as_a_stream(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A file within one block is read whole whatever the server does.
    monkeypatch.setattr("streams.formats.addresses._BLOCK_BYTES", 1 << 10)
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "impressions").write_bytes(in_format(ROWS, kind))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            found = events(log_of(Address(f"http://127.0.0.1:{server.server_port}/impressions")))
        finally:
            server.shutdown()
            serving.join()
    assert found == ROWS


READ = """
import sys
from pathlib import Path
from streams.cli.bench.measuring import memory_mb
from streams.inputs.files import FileLog
log = FileLog([Path(sys.argv[1])], "impressions")
try:
    count = sum(1 for _ in log.records())
except Exception as error:
    count = str(error)
# Not ru_maxrss, which a process inherits from the one that starts it.
print(round(memory_mb("self")[1]), count)
"""


def peak_mb(path: Path) -> tuple[int, str]:
    """The memory that reading a file takes, and how many records it has or what is said of it."""
    ended = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, check=True)
    peak, _, said = ended.stdout.partition(" ")
    return int(peak), said.strip()


def test_a_bomb_of_one_line_takes_bounded_memory_and_is_one_record(tmp_path: Path) -> None:
    path = tmp_path / "bomb.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"impression_id":"i1"}\n{"x":"')
        for _ in range(300):
            file.write(b"a" * (1 << 20))
        file.write(b'"}\n{"impression_id":"i2"}\n')
    small = tmp_path / "small.jsonl"
    small.write_bytes(b'{"impression_id":"i1"}\n')
    peak, said = peak_mb(path)
    assert said == "3"
    assert peak < peak_mb(small)[0] + 60
    with pytest.raises(Damaged, match="its end is missing"):
        list(objects(io.BytesIO(b'[{"x":"' + b"a" * (texts.LONGEST_TEXT + (1 << 19)))))


def test_memory_is_flat_in_the_size_of_a_parquet_file(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    peaks = []
    for rows in (20_000, 320_000):
        path = tmp_path / f"{rows}.parquet"
        columns: dict[str, Any] = {name: [ROWS[0][name]] * rows for name in ROWS[0]}
        # One group of rows: a reader that takes a whole group at once holds all of it.
        table = pa.table(columns | {"user_id": [f"{number:0>200}" for number in range(rows)]})
        pq.write_table(table, path, row_group_size=rows, use_dictionary=False, compression="none")
        peak, said = peak_mb(path)
        assert said == str(rows)
        peaks.append(peak)
    # 300,000 rows more are 60 MB in one column alone.
    assert peaks[1] < peaks[0] + 40
