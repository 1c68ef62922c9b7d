"""The scanner of impressions beside msgspec, on made-up and damaged records.

Whatever the scanner reads, msgspec must accept as it is, with the same values; and it reads its whole subset. The tests
compare few records; `python -m tests.scanning --records 1000000` takes minutes.
"""

from __future__ import annotations

import argparse
import sys
import time
from random import Random
from typing import NamedTuple

import numpy as np
import orjson
import xxhash

from schemas.reading import ReadImpression, read_impression
from schemas.totals import DIMENSIONS
from streams.kernels.scan import FIELDS, LEFT, NAMES, PLAIN, ROW, scan, scan_stored
from streams.kernels.slices import Slices
from tests.subset import in_subset

_BATCH = 2_000
_LENGTHS = (*[1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 130] * 3, 0, 255, 256, 257)
_ODD_TEXTS = ("é", "日本", "\\n", "\\u0041", '\\"', "\\\\", "\t", "\x01", "😀", "\x7f", "ß" * 128, "ß" * 129)
_INTEGERS = (
    *("0", "1", "12345678", "123456789", "1234567890123", "1000000000000", "1000000000001", "946684800000"),
    *("946684799999", "4102444799999", "4102444800000", "99999999999999999", "123456789012345678", "1.0", "1e3"),
    *(
        "12345678901234567890",
        "-1",
        "-0",
        "01",
        "1.5",
        "1.7e12",
        "1700000000000.0",
        "+1",
        "0x1",
        "",
        "1 ",
        '"5"',
        "true",
    ),
)
_SHARES = (
    *("0", "1", "0.0", "1.0", "1.00", "0.5", "0.50", "5e-1", "1e-7", "0.000001", "0.0009", "0.001", ".5", "1.", "NaN"),
    *("0.1234567890123456", "0.12345678901234567", "0.123456789012345", "1.0000001", "2", "-0.5", "-0.0", '"0.5"'),
    *("0.9999999999999999", "1.0000000000000000", "00.5", "0.30000000000000004", "null"),
)
_SCALARS = (
    *("0", "-1", "5", "-0", "1.5", "-2.25e3", "1e5", "01", "-", "1.", ".5", "123456789012345678901234567890", "true"),
    *(
        "9223372036854775807",
        "9223372036854775808",
        "999999999999999999",
        "1e400",
        "false",
        "null",
        "tru",
        "nul",
        "True",
    ),
)
_OTHER_NAMES = ("extra", "impression_idx", "t", "ts2", "camp", "a" * 40, "é", "x y", "", "arm\\u0031")
_DAMAGE = b'"\\{}[],:0 \n.e-9a\xc3\xa9\xed\xa0\xf4'


class Record(NamedTuple):
    """Key and value of a record in Kafka."""

    key: bytes | None
    value: bytes | None


class Compared(NamedTuple):
    """How many records there were, how many msgspec accepted, how many the scanner read, and which differ.

    A record differs that was read though it is not in the subset, or was not read though it is, or with other values,
    or that was read otherwise without its key.
    """

    records: int
    accepted: int
    read: int
    different: list[Record]


def compare(seed: int, records: int) -> Compared:
    """Scans records made from a seed, and decodes each of them."""
    random, after = Random(seed), np.full(FIELDS + 1, FIELDS, np.int64)
    done = accepted = read = 0
    different: list[Record] = []
    while done < records:
        batch = [_record(random, number) for number in range(min(_BATCH, records - done))]
        done += len(batch)
        rows, results = np.empty(len(batch), ROW), np.empty(len(batch), np.int8)
        values = Slices.of([record.value for record in batch])
        read += scan(*values.arrays, *Slices.of([record.key for record in batch]).arrays, rows, results, after)
        stored, again = np.empty(len(batch), ROW), np.empty(len(batch), np.int8)
        scan_stored(*values.arrays, stored, again, after)
        alone = zip(stored, again.tolist(), strict=True)
        for record, row, result, found in zip(batch, rows, results.tolist(), alone, strict=True):
            decoded = read_impression(record.value)
            accepted += isinstance(decoded, ReadImpression)
            reads = result != LEFT
            same = reads == in_subset(record.key, record.value) and (not reads or equal(record, decoded, row))
            same &= same_alone(found, (row, result), decoded)
            if not same or (reads and (result == PLAIN) != known_only(record)):
                different.append(record)
    return Compared(done, accepted, read, different)


def same_alone(alone: tuple[np.void, int], keyed: tuple[np.void, int], decoded: object) -> bool:
    """Whether a value is read without its key as it is with it. A key that is not the id may be why it was not read."""
    (row, result), (keyed_row, keyed_result) = alone, keyed
    if keyed_result == LEFT:
        return result == LEFT or (isinstance(decoded, ReadImpression) and not decoded.features_left_out)
    without_hash = keyed_row.copy()
    without_hash["hash"] = 0
    return result == keyed_result and row.tobytes() == without_hash.tobytes()


def known_only(record: Record) -> bool:
    """Whether the object of this record, which is in the subset, has known fields only."""
    return set(orjson.loads(record.value or b"")) <= set(NAMES)


def equal(record: Record, decoded: object, row: np.void) -> bool:
    """Whether the scanner has read the same values as msgspec."""
    if not isinstance(decoded, ReadImpression) or decoded.features_left_out or record.value is None:
        return False
    impression, id_bytes = decoded.impression, decoded.impression.impression_id.encode()
    pctr = float("nan") if impression.pctr is None else impression.pctr
    # An empty text has no place, as an absent one has none.
    if any(span and not span & 0xFFFF for span in row["spans"].tolist()):
        return False
    texts = [record.value[span >> 16 : (span >> 16) + (span & 0xFFFF)] for span in row["spans"].tolist()]
    return (
        record.key == id_bytes
        and (int(row["ts"]), int(row["price"])) == (impression.ts, impression.price_micros)
        and np.array_equal([row["pctr"]], [pctr], equal_nan=True)
        and int(row["hash"]) == xxhash.xxh3_64_intdigest(id_bytes)
        and texts == [(getattr(impression, name) or "").encode() for name in DIMENSIONS]
    )


def _record(random: Random, number: int) -> Record:
    """A record that is good in about half of all cases: odd values, odd fields, odd order, damaged bytes."""
    letters = "".join(random.choice("ab1") for _ in range(random.choice([0, 1, 8, 16, 32, 40, 256, 257])))
    impression_id = f"id{number}" if random.random() < 0.97 else letters
    fields = [("impression_id", f'"{impression_id}"')]
    fields.append(("ts", random.choice(["1789993614485"] * 30 + [random.choice(_INTEGERS)])))
    fields += [(name, _text(random) if random.random() < 0.1 else '"c1"') for name in ("campaign_id", "creative_id")]
    fields.append(("price_micros", random.choice(["113781"] * 30 + [random.choice(_INTEGERS)])))
    for name in NAMES:
        if name in dict(fields) or random.random() < 0.4:
            continue
        if name == "bid_micros":
            fields.append((name, random.choice(["203472"] * 30 + [random.choice(_INTEGERS)])))
        elif name == "pctr":
            fields.append((name, random.choice(["0.007663"] * 4 + [_share(random)])))
        elif name == "features":
            fields += [(name, _features(random))] if random.random() < 0.3 else []
        else:
            fields.append((name, random.choice([_text(random), *['"x"'] * 12, "null"])))
    while random.random() < 0.12:
        fields.append((random.choice(_OTHER_NAMES), _any(random)))
    if random.random() < 0.03:
        fields.append(random.choice(fields))
    if random.random() < 0.5:
        random.shuffle(fields)
    if random.random() < 0.03:
        fields.pop(random.randrange(len(fields)))
    members = ",".join(
        f'{_space(random)}"{name}"{_space(random)}:{_space(random)}{value}{_space(random)}' for name, value in fields
    )
    value = f"{{{_space(random)}{members}}}{_space(random)}".encode()
    if random.random() < 0.12:
        value = _damaged(random, value)
    key = impression_id.encode()
    odd_key, odd_value = random.random() < 0.03, random.random() < 0.002
    return Record(random.choice([b"", b"other", None, key + b"x"]) if odd_key else key, None if odd_value else value)


def _space(random: Random) -> str:
    return "" if random.random() < 0.97 else random.choice([" ", "\n", "\t", "  ", "\r", "\x0b", "\x00"])


def _text(random: Random) -> str:
    if random.random() < 0.2:
        return f'"{random.choice(_ODD_TEXTS)}a"'
    return '"' + "".join(random.choice("abcXYZ019-_/:. ~\x7f{}[],") for _ in range(random.choice(_LENGTHS))) + '"'


def _share(random: Random) -> str:
    if random.random() < 0.5:
        return random.choice(_SHARES)
    return f"0.{random.randrange(10 ** random.randrange(1, 17)):0{random.randrange(1, 18)}d}"


def _features(random: Random) -> str:
    if random.random() < 0.1:
        return _any(random)
    names = [random.choice(["a", "b", "c", "é", "", "n" * 256, "n" * 257]) for _ in range(random.randrange(5))]
    if random.random() < 0.02:
        names = [f"f{number}" for number in range(random.choice([255, 256, 257]))]
    values = [random.choice(_SCALARS) if random.random() < 0.2 else _text(random) for _ in names]
    if random.random() < 0.02:
        values = [f'"{"v" * random.choice([1_023, 1_024, 1_025])}"' for _ in names]
    return "{" + ",".join(f'"{name}":{value}' for name, value in zip(names, values, strict=True)) + "}"


def _any(random: Random, depth: int = 0) -> str:
    chance = random.random()
    if chance < 0.2 and depth < 3:
        return "[" + ",".join(_any(random, depth + 1) for _ in range(random.randrange(3))) + "]"
    if chance < 0.4 and depth < 3:
        return "{" + ",".join(f"{_text(random)}:{_any(random, depth + 1)}" for _ in range(random.randrange(3))) + "}"
    return random.choice(_SCALARS) if chance < 0.7 else _text(random)


def _damaged(random: Random, value: bytes) -> bytes:
    data = bytearray(value)
    for _ in range(random.randrange(1, 4)):
        if not data:
            break
        place = random.randrange(len(data))
        match random.randrange(4):
            case 0:
                data[place] = random.randrange(256)
            case 1:
                del data[place]
            case 2:
                data.insert(place, random.choice(_DAMAGE))
            case _:
                del data[place:]
    return bytes(data)


def main() -> None:
    """Prints what was compared; ends with 1 when a record differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    started_s = time.monotonic()
    found = compare(given.seed, given.records)
    print(
        f"{found.records:,} records, msgspec accepted {found.accepted:,}, the scanner read {found.read:,}, "
        f"{len(found.different)} differ; {time.monotonic() - started_s:.0f} s"
    )
    for record in found.different[:5]:
        print(record)
    sys.exit(bool(found.different))


if __name__ == "__main__":
    main()
