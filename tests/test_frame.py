"""A frame gives back what was put into it, and nothing else."""

from __future__ import annotations

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DamagedState, StateMismatch
from schemas.frame import Frame

DIGITS = Frame(magic=b"kind of state ", format=b"02\n")
INTEGER = Frame(magic=b"kindofst", format=(2).to_bytes(4, "little"), checksum_last=True)
BARE = Frame()
_frames = st.sampled_from([DIGITS, INTEGER, BARE])


@given(_frames, st.binary(max_size=40))
def test_what_was_wrapped_is_unwrapped(frame: Frame, body: bytes) -> None:
    assert bytes(frame.unwrap(frame.wrap(body), "it")) == body


@given(_frames, st.binary(max_size=40), st.integers(0, 200), st.integers(1, 255))
def test_any_changed_byte_is_noticed(frame: Frame, body: bytes, place: int, change: int) -> None:
    data = bytearray(frame.wrap(body))
    data[place % len(data)] ^= change
    with pytest.raises((DamagedState, StateMismatch)):
        frame.unwrap(bytes(data), "it")


@given(_frames, st.binary(max_size=40), st.data())
def test_any_truncation_is_damage(frame: Frame, body: bytes, data: st.DataObject) -> None:
    whole = frame.wrap(body)
    length = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(DamagedState, match="it is not what was written"):
        frame.unwrap(whole[:length], "it")


@pytest.mark.parametrize(
    ("frame", "other"), [(DIGITS, b"kind of state 99\n"), (INTEGER, b"kindofst" + (99).to_bytes(4, "little"))]
)
def test_another_format_of_the_same_kind_is_refused_with_both_numbers(frame: Frame, other: bytes) -> None:
    data = other + frame.wrap(b"body")[len(other) :]
    with pytest.raises(StateMismatch, match="it has format 99, this program reads up to 2; use the program"):
        frame.unwrap(data, "it")


def test_the_bytes_are_those_of_state_already_on_disks() -> None:
    assert DIGITS.wrap(b"body") == b"kind of state 02\n" + xxhash.xxh3_128_digest(b"body") + b"body"
    assert BARE.wrap(b"body") == xxhash.xxh3_128_digest(b"body") + b"body"
    before = b"kindofst\x02\x00\x00\x00body"
    assert INTEGER.wrap(b"body") == before + xxhash.xxh3_128_digest(before)
