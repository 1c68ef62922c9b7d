"""Users' own logs and campaigns from files: one JSON object a line, plain or gzip.

A file is a log of one partition: the order of lines is the order of the log, the offset of a record is its line number
from 0. Lines that are no events are records all the same, because the fold says what becomes of them. Lines without
anything but white space are passed over, so that a newline too many is no reject; offsets then have a gap.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final
from zoneinfo import ZoneInfo

import msgspec

from schemas.codec import decode, decoder
from schemas.errors import SettingsError
from schemas.events import Campaign
from schemas.records import Record, Records

BATCH_RECORDS: Final = 10_000
_GZIP_MAGIC: Final = b"\x1f\x8b"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_NO_TIMESTAMP: Final = -1
# Below this, iterating over lines spends its time asking gzip for more.
_BUFFER_BYTES: Final = 1 << 20


class _Keyed(msgspec.Struct, gc=False):
    impression_id: str


def read_jsonl(path: Path, log: str) -> Iterator[Record]:
    """The records of a file of `log` ('impressions' or 'clicks', for messages), read as they are asked for.

    The key is the line's own `impression_id`, or None where there is none to be read; there is no Kafka timestamp, so
    the future rule is skipped. Raises SettingsError at once when the file is missing or not what its name says, and
    while reading when a gzip file is damaged or cut short.
    """
    return _records(_numbered_lines(path, log, is_gzip=_is_gzip(path, log)))


def read_batches(path: Path, log: str, *, most: int = BATCH_RECORDS, partition: int = 0) -> Iterator[Records]:
    """The records of `read_jsonl` as columns, `most` at a time, the last batch shorter; none for an empty file."""
    return _batches(read_jsonl(path, log), log, most=most, partition=partition)


def read_campaigns(path: Path) -> list[Campaign]:
    """Campaigns in the order of their lines, several versions of one allowed. Raises SettingsError naming the line."""
    found: list[Campaign] = []
    is_gzip = _is_gzip(path, "campaigns")
    for number, line in _numbered_lines(path, "campaigns", is_gzip=is_gzip):
        try:
            campaign = decode(line, Campaign)
            ZoneInfo(campaign.timezone)
        except (ValueError, KeyError, OSError) as error:
            # KeyError: ZoneInfo's own error for an unknown zone; its text is quoted. OSError: the name of a folder.
            raise SettingsError(
                f"line {number + 1} of campaigns file {path} is not a campaign: {error.args[-1] if error.args else ''}"
                "; each line is a JSON object with campaign_id, daily_budget_micros, timezone (IANA), status, pacing, "
                "version"
            ) from error
        found.append(campaign)
    return found


def _is_gzip(path: Path, log: str) -> bool:
    """Whether a file is compressed. The bytes decide, but one called .gz that is not is half of a mistake."""
    if path.exists() and not path.is_file():
        # A pipe would lose its first bytes to this look.
        raise SettingsError(f"{log} file {path} is not a regular file; write its lines to one first")
    try:
        with path.open("rb") as file:
            is_gzip = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    except FileNotFoundError as error:
        raise SettingsError(f"{log} file {path} does not exist; give the path of a .jsonl or .jsonl.gz file") from error
    except OSError as error:
        raise SettingsError(f"{log} file {path} cannot be read: {error.strerror}") from error
    if path.suffix == ".gz" and not is_gzip:
        raise SettingsError(f"{log} file {path} is not gzip, whatever its name; compress it, or drop the .gz")
    return is_gzip


def _lines(path: Path, *, is_gzip: bool) -> BinaryIO:
    # A GzipFile hands out lines through Python; a BufferedReader around it does so in C.
    return io.BufferedReader(gzip.open(path), _BUFFER_BYTES) if is_gzip else path.open("rb", _BUFFER_BYTES)


def _numbered_lines(path: Path, log: str, *, is_gzip: bool) -> Iterator[tuple[int, bytes]]:
    """Lines that hold something, without what ends them, and their number from 0."""
    number = -1
    try:
        with _lines(path, is_gzip=is_gzip) as file:
            for number, line in enumerate(file):
                text = line.rstrip(b"\r\n")
                if number == 0:
                    text = text.removeprefix(_BYTE_ORDER_MARK)
                if text and not text.isspace():
                    yield number, text
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SettingsError(
            f"{log} file {path} is damaged or cut short after line {number + 1}: {error}; restore it, or unpack what "
            "is readable and give that"
        ) from error


def _records(lines: Iterator[tuple[int, bytes]]) -> Iterator[Record]:
    ids = decoder(_Keyed)
    for number, line in lines:
        try:
            key: bytes | None = ids.decode(line).impression_id.encode()
        except ValueError:  # not JSON, no id, not UTF-8
            key = None
        yield Record(number, _NO_TIMESTAMP, key, line)


def _batches(records: Iterator[Record], log: str, *, most: int, partition: int) -> Iterator[Records]:
    while batch := list(islice(records, most)):
        yield Records(
            log,
            partition,
            [record.offset for record in batch],
            [record.record_ts_ms for record in batch],
            [record.key for record in batch],
            [record.value for record in batch],
        )
