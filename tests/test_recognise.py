"""A file is recognised by its content before any line is judged, and a format that is not read has a name."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import orjson
import pytest

from schemas.errors import SettingsError
from streams.formats.kinds import LINES as JSON_LINES
from streams.formats.kinds import OBJECTS, TABLE, Form
from streams.inputs.files import FileLog
from streams.inputs.recognise import HEAD_BYTES, Foreign, recognised
from tests.factories import T0, click_json, impression_json

LINES = b"".join(impression_json(f"i{number}", T0 + number) + b"\n" for number in range(3))
CAMPAIGN = (
    b'{"campaign_id":"c","daily_budget_micros":5,"timezone":"UTC","status":"active","pacing":"even","version":1}\n'
)


def zipped(name: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, LINES)
    return packed.getvalue()


def tarred() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("impressions.jsonl")
        member.size = len(LINES)
        archive.addfile(member, io.BytesIO(LINES))
    return packed.getvalue()


def behind(text: bytes, lines: bytes) -> bytes:
    """The lines with this text before each."""
    return b"".join(text + line + b"\n" for line in lines.splitlines())


ARRAY = orjson.dumps([orjson.loads(line) for line in LINES.splitlines()])
PRETTY = b"\n".join(orjson.dumps(orjson.loads(line), option=orjson.OPT_INDENT_2) for line in LINES.splitlines())


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (lzma.compress(LINES), "xz; unpack it first"),
        (lzma.compress(LINES, lzma.FORMAT_ALONE), "LZMA; unpack it first"),
        (zipped("impressions.jsonl"), "a ZIP archive; unpack it first"),
        (zipped("xl/workbook.xml"), "an Excel workbook"),
        (tarred(), "a tar archive"),
        (b"SQLite format 3\x00\x10", "an SQLite database"),
        (gzip.compress(LINES), "gzip within a compressed file"),
        (b"\x00\x01\x02\x03\x04\x05\x06\x07", "not text: it begins with the bytes 00 01 02 03"),
        (b'{"records":' + ARRAY + b"}", "'records'; give one object a line: `jq -c '.records[]' "),
        (b'{"next":null,"hits":' + ARRAY + b"}\n", "one object that holds a list of records, 'hits'"),
        (b'{\n "records": ' + ARRAY.replace(b"},{", b"},\n {") + b"}\n", "`jq -c '.records[]' "),
        (b'{"records":[' + LINES.replace(b"\n", b",") * 1_000 + b"{}]}", "`jq -c '.records[]' "),
        (behind(b"data: ", LINES).replace(b"\n", b"\n\n"), "its objects stand behind other text, such as 'data: '"),
        (behind(b"\x1e", LINES), r"behind other text, such as '\x1e'; give one object a line: `sed 's/^[^{]*//' "),
        (behind(b"2023-11-14 22:13:20,123 INFO ", LINES), "such as '2023-11-14 22:13:20,123 INFO '"),
        (behind(b"i1\t", LINES), r"such as 'i1\t'"),
        (b"event: impression\n" + behind(b"data: ", LINES), "its objects stand behind other text"),
        (b'["i1",1]\n["i2",2]\n', "it holds a JSON array a line"),
        (b'[["i1",1],["i2",2]]', "a JSON array whose elements are no objects"),
        (b"<!DOCTYPE html>\n<html></html>", "HTML or XML"),
        (b"<?xml version='1.0'?><Error/>", "HTML or XML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a pointer of Git LFS"),
        (b"{'impression_id': 'i1'}\n", "single quotes"),
        (b'"{\\"impression_id\\": \\"i1\\"}"\n', "encoded twice"),
        (b"hello\nworld\n", "neither JSON nor a table: it begins with 'hello'"),
        (click_json("k", "i1") + b"\n", "a file of clicks: its lines have the field click_id; give it as --clicks"),
        (CAMPAIGN, "a file of campaigns"),
    ],
)
def test_a_file_that_is_no_json_lines_is_named_in_one_sentence(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "impressions.jsonl"
    for packed in (content, gzip.compress(content)):
        if packed is content and content.startswith(b"\x1f\x8b"):
            continue  # gzip itself is read
        path.write_bytes(packed)
        with pytest.raises(SettingsError, match=r"impressions file .* is ") as refused:
            FileLog([path], "impressions")
        assert what in str(refused.value)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n \n",
        b"\xef\xbb\xbf",
        b"\xef\xbb\xbf" + LINES,
        LINES.replace(b"\n", b"\r\n"),
        b"not json\n[]\n" + LINES,
        b'[{"a":1}]\n' + LINES,
        b'{"broken": \n' + LINES,
        b'{"imp":[{"id":"i"}]}\n',
        b'{"impression_id":"i","data":[{"click_id":"k"}]}\n',
        b'{"data":[{"click_id":"k"}]}\n' + LINES,
        LINES + LINES.replace(b"\n", b""),
        b"\x00" * 100 + b"\n" + LINES,
        b"{broken",
        b"{}",
        b'{"features":{"x":"' + b"y" * HEAD_BYTES + b'"}}',
    ],
)
def test_json_lines_with_bad_lines_are_left_to_the_join(content: bytes) -> None:
    assert recognised(content[:HEAD_BYTES], "impressions", whole=len(content) < HEAD_BYTES) == Form(JSON_LINES)


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (b"PAR1\x15\x04\x15", Form("Parquet")),
        (b"Obj\x01\x04\x14avro", Form("Avro")),
        (b"ORC\n\x0b\x0a\x03", Form("ORC")),
        (b"ARROW1\x00\x00", Form("Arrow")),
        (b"\xff\xff\xff\xff\x10\x00", Form("an Arrow stream")),
        (ARRAY, Form(OBJECTS)),
        (ARRAY.replace(b"},{", b"},\n{"), Form(OBJECTS)),
        (b"[\n" + LINES.replace(b"}\n{", b"},\n{") + b"]\n", Form(OBJECTS)),
        (b"[]", Form(OBJECTS)),
        (b"[\n]\n", Form(OBJECTS)),
        (LINES.replace(b"\n", b""), Form(OBJECTS)),
        (LINES.replace(b"\n", b" ") * 1_000, Form(OBJECTS)),
        (LINES.replace(b"\n", b"\r"), Form(OBJECTS)),
        (PRETTY, Form(OBJECTS)),
        (b'{\n "impression_id": "i",\n "features": {\n' + b'  "x": "y",\n' * HEAD_BYTES, Form(OBJECTS)),
        (b"impression_id,ts,campaign_id\ni1,1700000000000,c1\n", Form(TABLE, ",")),
        (b"\xef\xbb\xbfimpression_id,ts\ni1,1700000000000\n", Form(TABLE, ",")),
        (b'impression_id,note\ni1,"a, b"\n', Form(TABLE, ",")),
        (b"timestamp\tuid\tcost\n0\t2007\t1e-05\n", Form(TABLE, "\t")),
        (b"impression_id;ts\ni1;1700000000000\n", Form(TABLE, ";")),
        (b"impression_id|ts\ni1|1700000000000\n", Form(TABLE, "|")),
    ],
)
def test_a_format_that_is_read_is_recognised_by_its_beginning(content: bytes, form: Form) -> None:
    assert recognised(content[:HEAD_BYTES], "impressions", whole=len(content) < HEAD_BYTES) == form


def test_swapped_files_are_named_whichever_is_given_for_the_other() -> None:
    for head, log, kind in ((LINES, "clicks", "impressions"), (LINES, "campaigns", "impressions")):
        found = recognised(head, log, whole=True)
        assert isinstance(found, Foreign)
        assert f"a file of {kind}" in found.what
        assert f"--{kind}" in found.remedy
    seconds = click_json("k", "i", 1_700_000_000) + b"\n"
    found = recognised(seconds, "impressions", whole=True)
    assert isinstance(found, Foreign)
    assert "a file of clicks" in found.what


def test_a_compressed_file_that_is_damaged_within_its_head_is_not_misnamed(tmp_path: Path) -> None:
    path = tmp_path / "impressions.jsonl.gz"
    path.write_bytes(gzip.compress(LINES * 100)[:-20])
    with pytest.raises(SettingsError, match="damaged or cut short"):
        list(FileLog([path], "impressions").records())


def test_standard_input_is_named_by_the_option_that_it_was_given_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"SEQ\x06")))
    with pytest.raises(SettingsError, match=r"^standard input \(--clicks\) is a Hadoop sequence file; "):
        FileLog([Path("-")], "clicks")
