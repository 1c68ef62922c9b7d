"""Lines of outcomes to rows: the scanner gives what msgspec gives, and leaves to msgspec what it is not sure of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import msgspec
import numpy as np
import pytest

from online_models.mixture import reading
from online_models.mixture.examples import Example, read_example
from online_models.mixture.layout import NAMED
from online_models.mixture.reading import Reader
from online_models.mixture.rows import Fields
from schemas.reading import Unreadable
from tests.effort import tries
from tests.models.clicks import examples, rows_of

ROOT = Path(__file__).parent.parent
GOOD = b'{"kind":"click","impression_id":"i1","ts":1700000000000,"label":1'


def assert_same(lines: list[bytes], *, shown: bool = False) -> None:
    refused: list[int] = []
    reader, known = Reader(Fields(), slices=NAMED, shown=shown), Fields()
    batch = reader.read(lines, lambda place, _: refused.append(place))
    found = [read_example(line, shown=shown) for line in lines]
    good = [each for each in found if isinstance(each, Example)]
    expected = rows_of(good, known)
    assert all(
        np.array_equal(ours, theirs) for ours, theirs in zip(batch.rows.columns(), expected.columns(), strict=True)
    )
    assert refused == [place for place, each in enumerate(found) if not isinstance(each, Example)]
    assert [each.decode() for each in batch.ids] == [each.impression_id for each in good]
    assert [None if np.isnan(each) else each for each in batch.served] == [
        each.pctr if each.pctr is not None and 0.0 <= each.pctr <= 1.0 else None for each in good
    ]
    assert batch.partitions.tolist() == [each.join_partition or 0 for each in good]
    assert batch.delays_ms.tolist() == [each.delay_ms or 0 for each in good]
    for keys, name in zip(batch.named_keys.T.tolist(), NAMED, strict=True):
        assert [reader.texts.get(key) for key in keys] == [getattr(each, name) for each in good]


def left_to_msgspec(line: bytes, monkeypatch: pytest.MonkeyPatch, *, shown: bool = False) -> bool:
    left: list[bytes] = []

    def spy(one: bytes, *, shown: bool) -> Example | Unreadable | None:
        left.append(one)
        return read_example(one, shown=shown)

    with monkeypatch.context() as patched:
        patched.setattr(reading, "read_example", spy)
        Reader(Fields(), shown=shown).read([line], lambda *_: None)
    return bool(left)


@pytest.mark.parametrize(
    "rest",
    [
        *(b"}", b',"weight":20,"country":null,"device":"phone","features":{}}', b', "features" : {"a" : -0.5} }'),
        b',"features":{"x":true,"tag_a":true,"tag_b":false,"n":-0,"m":-0.0,"big":123456789012345,"":"","s":"1"}}',
        b',"pctr":0.012345678901234567,"bid_micros":1e3}',
        b',"pctr":1e-5,"x":-0.0E+17,"y":123456789012345678901234567890}',
        b',"pctr":null}',
        b',"pctr":1.5}',
        b',"join_partition":7,"delay_ms":-5000}',
        b',"delay_ms":null,"join_partition":null}',
        b',"price_micros":12,"click_id":"c","pctr":0.02,"unknown":null,"flag":false,"features":{"one":1.25}}',
    ],
)
def test_usual_lines_are_read_in_place_as_msgspec_reads_them(rest: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not left_to_msgspec(GOOD + rest, monkeypatch)
    assert_same([GOOD + rest] * 2)


@pytest.mark.parametrize(
    "line",
    [
        *(GOOD + b',"pctr":01}', GOOD + b',"pctr":1.}', GOOD + b',"pctr":.5}', GOOD + b',"pctr":1e}'),
        *(GOOD + b',"pctr":true}', GOOD + b',"pctr":0.5,"pctr":0.5}', GOOD + b',"x":-}', GOOD + b',"x":1e+}'),
        *(b"", b"{}", b"null", b"[]", GOOD, GOOD + b"}}", GOOD + b",}", GOOD + b',"label":1}', GOOD + b',"a":{"b":1}}'),
        *(GOOD + b',"weight":0}', GOOD + b',"weight":1e3}', GOOD + b',"weight":1000001}', GOOD + b',"weight":"1"}'),
        *(GOOD + b',"features":{"a":1,"a":2}}', GOOD + b',"features":{"a":null}}', GOOD + b',"features":{"a":01}}'),
        *(
            GOOD + b',"features":{"a":1e5}}',
            GOOD + b',"features":{"a":1234567890123456}}',
            GOOD + b',"features":{"a":-}}',
        ),
        *(GOOD + b',"features":{"a":1.}}', GOOD + b',"features":{"a":.5}}', GOOD + b',"features":{"a":"x'),
        *(GOOD + b',"country":"\xe6\x97\xa5"}', GOOD + b',"country":"\xff"}', GOOD + b',"country":"a\\n"}'),
        *(GOOD + b',"features":{"a":"' + b"x" * 1_025 + b'"}}', GOOD + b',"features":{"' + b"n" * 257 + b'":1}}'),
        *(GOOD.replace(b"click", b"unclicked") + b"}", GOOD.replace(b"1700000000000", b"1700000000") + b"}"),
        *(GOOD + b',"delay_ms":1.5}', GOOD + b',"delay_ms":"1"}', GOOD + b',"join_partition":true}'),
        *(GOOD + b',"delay_ms":1234567890123456}', GOOD + b',"delay_ms":12345678901234567890}'),
        b'{"kind":"orphan","impression_id":"i1"}',
        GOOD + b',"features":{' + b",".join(b'"f%d":1' % number for number in range(257)) + b"}}",
    ],
)
def test_what_the_scanner_is_not_sure_of_msgspec_decides(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert left_to_msgspec(line, monkeypatch)
    assert_same([GOOD + b',"features":{"z":1}}', line, GOOD + b',"features":{"y":2,"z":1}}'])


@pytest.mark.parametrize("length", range(41))
def test_texts_and_numbers_of_every_length_are_read_as_msgspec_reads_them(length: int) -> None:
    """The scanner looks at sixteen bytes of a text together, hashes eight, and reads eight digits at once."""
    text, digits = b"abcdefghijklmnopqrstuvwxyz0123456789 _~!#"[:length], b"1234567890" * 5
    lines = [
        GOOD + b',"country":"' + text + b'","features":{"t":"' + text + b'","n":' + digits[: length + 1] + b"}}",
        GOOD + b',"features":{"' + text + b'":0' + b',"z":1023,"y":1024,"x":0.' + digits[: length + 1] + b"}}",
        *(GOOD + b',"country":"' + text + end + b'x"}' for end in (b"\\n", b"\x7f", b"\x1f", b"\xc3\xa9")),
    ]
    assert_same(lines)


def test_names_before_and_behind_features_come_in_the_order_of_their_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    features = b',"features":{"b":1,"a":"x"}'
    lines = [
        GOOD + b',"device":"d"' + features + b',"country":"de"}',
        b'{"features":{"a":"x","b":2},"ts":1700000000000,"label":1,"kind":"click","impression_id":"i","device":"d"}',
        GOOD + b',"features":{},"country":"de"}',
    ]
    assert not any(left_to_msgspec(line, monkeypatch) for line in lines)
    assert_same(lines)


def test_impressions_that_were_shown_are_rows_without_label_only_where_they_are_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = b'{"kind":"shown","impression_id":"i1","weight":20,"ts":1700000000000,"country":"de","features":{"a":1}}'
    labelled, unlabelled = shown[:-1] + b',"label":0}', GOOD.replace(b',"label":1', b"") + b"}"
    for line, is_read in ((shown, True), (labelled, False), (unlabelled, False)):
        assert left_to_msgspec(line, monkeypatch, shown=True) != is_read
        assert left_to_msgspec(line, monkeypatch)
        for wanted in (True, False):
            assert_same([GOOD + b"}", line, GOOD + b"}"], shown=wanted)
    assert Reader(Fields(), shown=True).read([shown], print).rows.labels.tolist() == [-1]
    assert len(Reader(Fields()).read([shown], lambda *_: None).rows) == 0


@pytest.mark.parametrize("shown", [False, True])
@pytest.mark.parametrize("seed", range(tries(20)))
def test_mutated_lines_give_the_same_rows_as_msgspec(seed: int, shown: bool) -> None:
    random = Random(seed)
    found = examples(200, seed=seed, negative_weight=2.0)
    found = [msgspec.structs.replace(each, join_partition=place % 4) for place, each in enumerate(found)]
    found[::3] = [msgspec.structs.replace(each, kind="shown", label=None) for each in found[::3]]
    lines = [msgspec.json.encode(each) for each in found]
    for place in random.sample(range(len(lines)), 120):
        line = bytearray(lines[place])
        for _ in range(random.choice((1, 1, 2))):
            at = random.randrange(len(line))
            line[at : at + random.randint(0, 1)] = bytes(
                random.choices(b' "{}[]:,.-0159eEtfn\\_a\xc3\x7f', k=random.randint(0, 2))
            )
        lines[place] = bytes(line).replace(b"\n", b"")
    assert_same(lines, shown=shown)


SCAN_UNCOMPILED = """
import numpy as np
import msgspec
from online_models.mixture.reading import Reader
from online_models.mixture.rows import Fields
from tests.models.clicks import examples
import xxhash
lines = [msgspec.json.encode(each) for each in examples(40)]
with np.errstate(over="ignore"):
    columns = Reader(Fields()).read(lines, print).rows.columns()
print(xxhash.xxh3_64_hexdigest(b"".join(column.tobytes() for column in columns)))
"""


def test_the_scanner_uncompiled_gives_the_same_rows() -> None:
    ended = [
        subprocess.run(
            [sys.executable, "-c", SCAN_UNCOMPILED],
            cwd=ROOT,
            env={**os.environ, "NUMBA_DISABLE_JIT": disabled},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for disabled in ("0", "1")
    ]
    assert ended[0] == ended[1]
