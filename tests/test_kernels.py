"""Kernels: equal to what they stand for, within their arrays, and never an old one after an edit."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xxhash

from schemas.compiled import KERNELS
from streams.kernels.gather import STORED, describe, gather
from streams.kernels.names import ENTRY, NEXT_CODES, STATE, code_texts
from streams.kernels.scan import FIELDS, LEFT, PLAIN, READ, ROW, scan
from streams.kernels.slices import Slices
from streams.kernels.totals import add_columns, find_rows
from tests.canaries import guarded
from tests.effort import SHORT, tries
from tests.scanning import compare

ROOT = Path(__file__).parent.parent
compiles = pytest.mark.skipif(SHORT, reason="kernels are compiled anew, 5 to 20 s of CPU")
GOOD = b'{"impression_id":"i1","ts":1700000000000,"campaign_id":"c","creative_id":"k","price_micros":5'


def scanned(value: bytes, key: bytes = b"i1") -> tuple[int, np.void]:
    rows, results = np.zeros(1, ROW), np.zeros(1, np.int8)
    scan(*Slices.of([value]).arrays, *Slices.of([key]).arrays, rows, results, np.full(FIELDS + 1, FIELDS, np.int64))
    return int(results[0]), rows[0]


@pytest.mark.parametrize("seed", range(tries(4)))
def test_whatever_the_scanner_reads_msgspec_accepts_with_the_same_values(seed: int) -> None:
    found = compare(seed, 4_000)
    assert not found.different
    assert found.read > found.accepted // 2


@pytest.mark.parametrize(
    "rest", ["}", ',"features":{"a":1,"b":"x","c":true,"d":0.5}}', ',"country":"日本","x":[]}', ',"features":{}}']
)
def test_usual_records_stay_on_the_fast_path(rest: str) -> None:
    result, row = scanned(GOOD + rest.encode())
    assert result == (LEFT if "[]" in rest else PLAIN)
    if result != LEFT:
        assert (int(row["ts"]), int(row["price"]), int(row["hash"])) == (1_700_000_000_000, 5, xxh3(b"i1"))


@pytest.mark.parametrize("rest", [',"kind":"click"}', ',"label":1,"arm":"a"}', ',"":null}'])
def test_a_record_with_an_unknown_field_is_read_and_not_plain(rest: str) -> None:
    assert scanned(GOOD + rest.encode())[0] == READ


@pytest.mark.parametrize(
    "value",
    [
        *(GOOD, GOOD + b"]", GOOD + b'}{"a":1}', GOOD + b',"ts":1700000000000}', GOOD + b',"arm":"a\\n"}'),
        *(GOOD + b',"bid_micros":1e3}', GOOD + b',"bid_micros":1.0}', GOOD + b',"pctr":1.5}', GOOD + b',"pctr":1e-3}'),
        *(GOOD + b',"arm":"\xed\xa0\x80"}', GOOD + b',"arm":"\xc3"}', GOOD + b',"features":{"a":null}}'),
        *(GOOD + b',"features":{"a":{"b":1}}}', GOOD + b',"arm":"' + b"a" * 257 + b'"}', b"", b"null", b"[]"),
    ],
)
def test_what_is_not_certain_is_left_to_msgspec(value: bytes) -> None:
    assert scanned(value)[0] == LEFT


def test_another_key_is_left_to_msgspec() -> None:
    assert scanned(GOOD + b"}", b"i2")[0] == LEFT
    assert scanned(GOOD + b"}", b"i")[0] == LEFT


@pytest.mark.parametrize("length", [*range(1, 40), *range(62, 67), *range(94, 99), *range(126, 131), *range(238, 257)])
def test_hashes_are_those_of_xxhash(length: int) -> None:
    key = (b"0123456789abcdef-" * 16)[:length]
    result, row = scanned(GOOD.replace(b'"i1"', b'"' + key + b'"') + b"}", key)
    assert result != LEFT
    assert int(row["hash"]) == xxh3(key)


def xxh3(data: bytes) -> int:
    return xxhash.xxh3_64_intdigest(data)


def test_a_kernel_that_writes_beyond_its_array_is_noticed() -> None:
    def beyond(array: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> None:
        ctypes.memset(array.ctypes.data + len(array), 0, 1)

    def before(array: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> None:
        ctypes.memset(array.ctypes.data - 1, 0, 1)

    for function in (beyond, before):
        with pytest.raises(AssertionError, match="wrote beyond an array of 5 bytes"):
            guarded("bad", function, (True,), (np.zeros(5, np.uint8),))


def test_a_kernel_that_writes_into_an_array_it_may_only_read_is_noticed() -> None:
    with pytest.raises(AssertionError, match="may only read"):
        guarded("bad", lambda array: ctypes.memset(array.ctypes.data, 1, 1), (False,), (np.zeros(5, np.uint8),))


def test_kernels_refuse_what_is_not_within_their_arrays() -> None:
    values, keys, after = Slices.of([GOOD + b"}"]), Slices.of([b"i1"]), np.full(FIELDS + 1, FIELDS, np.int64)
    rows, results = np.zeros(1, ROW), np.zeros(1, np.int8)
    for spans in ([[1, len(GOOD) + 1]], [[-1, 5]], [[2**62, 5]]):
        with pytest.raises(IndexError):
            scan(values.buffer, np.array(spans, np.int64), *keys.arrays, rows, results, after)
    with pytest.raises(IndexError):
        scan(*values.arrays, keys.buffer, keys.spans + np.array([1, 0]), rows, results, after)
    with pytest.raises(IndexError):
        scan(*values.arrays, *keys.arrays, rows[:0], results, after)
    with pytest.raises(IndexError):
        scan(*values.arrays, *keys.arrays, rows, results, after + 1)
    for start, room in ((len(values.buffer), 1), (0, 0)):
        span = np.array([[start, 1]], np.int64)
        with pytest.raises(IndexError):
            gather(values.buffer, span, np.zeros(room, np.uint8))
        with pytest.raises(IndexError):
            describe(values.buffer, span, np.zeros(1, np.int64), np.zeros(1, np.uint64), 0, np.zeros(room, STORED))
    with pytest.raises(IndexError):
        add_columns(np.zeros((1, 2), np.int64), np.array([2], np.int32), np.ones((1, 1), np.int64))
    with pytest.raises(IndexError):
        find_rows(np.zeros((9, 2), np.uint64), np.full(64, -1, np.int32), np.zeros((8, 2), np.uint64), 0, rows_of(9))
    with pytest.raises(IndexError):
        add_name(np.array([[0, 2]], np.int64), dimension=STATE - NEXT_CODES)
    with pytest.raises(IndexError):
        add_name(np.array([[1, 2]], np.int64), dimension=0)


def rows_of(count: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.zeros(count, np.int32)


def add_name(spans: np.ndarray[tuple[int, int], np.dtype[np.int64]], *, dimension: int) -> None:
    state = np.zeros(STATE, np.int64)
    state[NEXT_CODES:] = 1
    table = np.zeros(64, np.int32), np.zeros((32, ENTRY), np.int64), np.zeros(65_536, np.uint8), state
    code_texts(Slices.of([b"ab"]).buffer, spans, np.array([dimension], np.int64), *table, rows_of(1))


CALLING = (
    "counting",
    "join",
    "store",
    "join_index",
    "packed",
    "simulation",
    "kernels",
    "kernel_messages",
    "model_bounds",
    "model_reading",
)


@compiles
def test_kernels_stay_within_their_arrays_between_canaries_and_with_each_index_checked() -> None:
    checked = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "TRIES": "0.1"}
    files = [f"tests/test_{name}.py" for name in CALLING]
    run = [sys.executable, "-m", "pytest", "-q", "-p", "tests.canaries", "-p", "no:cacheprovider", *files]
    done = subprocess.run(run, cwd=ROOT, env=checked, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-1_000:]
    assert "never called:\n" in done.stdout


# ---- the cache ------------------------------------------------------------------------------------------------------


def python(folder: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code on a copy of the sources in a folder."""
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", "PYTHONPATH")}
    return subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"],
        cwd=folder,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The sources that kernels are made of, with a kernel that uses a constant of another module."""
    folder = tmp_path / "code"
    shutil.copytree(ROOT / "schemas", folder / "schemas", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "streams/kernels").mkdir(parents=True)
    shutil.copy(ROOT / "streams/kernels/__init__.py", folder / "streams/kernels")
    (folder / "streams/__init__.py").write_text("")
    (folder / "streams/kernels/constant.py").write_text("ADDED = 1\n")
    (folder / "streams/kernels/adding.py").write_text(
        "from schemas.compiled import INT64, kernel\nfrom streams.kernels.constant import ADDED\n\n\n"
        "@kernel(INT64)\ndef added(number):\n    return number + ADDED\n"
    )
    return folder


ADD = "from streams.kernels.adding import added\nprint(added(1))"


@compiles
def test_an_edit_in_an_imported_module_makes_a_new_kernel(copied: Path) -> None:
    first = python(copied, ADD)
    assert (first.stdout, "Compiling" in first.stderr) == ("2\n", True)
    again = python(copied, ADD)
    assert (again.stdout, again.stderr) == ("2\n", "")
    constant = copied / "streams/kernels/constant.py"
    times = constant.stat()
    constant.write_text("ADDED = 5\n")
    os.utime(constant, ns=(times.st_atime_ns, times.st_mtime_ns))
    # The same time and length: only Python's own cache of byte code must not see it.
    edited = python(copied, ADD, PYTHONPYCACHEPREFIX=str(copied / "elsewhere"))
    assert (edited.stdout, "Compiling" in edited.stderr) == ("6\n", True)


@compiles
def test_compiled_kernels_are_read_from_a_folder_that_cannot_be_written(copied: Path) -> None:
    python(copied, f"{ADD}\nfrom schemas.compiled import complete; complete()")
    cannot_write = "import schemas.compiled as compiled\ncompiled._writable = lambda folder: False\n"
    read = python(copied, cannot_write + ADD)
    assert (read.stdout, read.stderr) == ("2\n", "")


@compiles
def test_without_any_folder_each_process_compiles_and_says_so(copied: Path) -> None:
    cannot_write = "import schemas.compiled as compiled\ncompiled._writable = lambda folder: False\n"
    compiled = python(copied, cannot_write + ADD)
    assert compiled.stdout == "2\n"
    assert "no folder to keep the result in is writable" in compiled.stderr


def test_kernels_are_compiled_for_any_processor_and_need_no_lock() -> None:
    assert KERNELS
    for each in KERNELS:
        made = each.load()
        assert made.targetoptions["nogil"]
        assert "fastmath" not in made.targetoptions
        assert made.targetctx.codegen().magic_tuple()[1:] == ("generic", "")


@compiles
def test_who_loads_kernels_does_not_wait_for_scipy_and_can_import_it_afterwards(copied: Path) -> None:
    loaded = "print('numba.np.arraymath' in sys.modules, 'scipy.linalg' in sys.modules)"
    done = python(copied, f"{ADD}\n{loaded}\nfrom scipy.linalg import inv\nprint(inv([[2.0]]))")
    assert done.stdout == "2\nTrue False\n[[0.5]]\n"


def test_who_asks_for_help_does_not_wait_for_numba() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "streams.cli", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "numba" not in done.stderr
