"""What is written is JSON as another library writes it, and is read back as the same value."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import patch

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect

from schemas.codec import decoder, encode, packed_decoder
from schemas.generate import KINDS

# The largest float below 1e16. From there on orjson writes '1e+16' and msgspec '1e16'.
_BELOW_EXPONENT = 9_999_999_999_999_998.0


def values_of(kind: inspect.Type, *, large_floats: bool) -> st.SearchStrategy[Any]:
    """Values within the bounds that a type states."""
    match kind:
        case inspect.Metadata():
            return values_of(kind.type, large_floats=large_floats)
        case inspect.StructType():
            fields = {field.name: values_of(field.type, large_floats=large_floats) for field in kind.fields}
            return st.fixed_dictionaries(fields).map(lambda fields_given: kind.cls(**fields_given))
        case inspect.IntType(ge=low, le=high):
            return st.integers(-(2**63) if low is None else low, 2**63 - 1 if high is None else high)
        case inspect.FloatType(ge=low, le=high):
            most = None if large_floats else _BELOW_EXPONENT
            least = None if most is None else -most
            return st.floats(
                least if low is None else low,
                most if high is None else high,
                allow_nan=False,
                allow_infinity=False,
            )
        case inspect.StrType(pattern=str(pattern)):
            return st.from_regex(pattern, fullmatch=True)
        case inspect.StrType(min_length=shortest, max_length=longest):
            return st.text(min_size=shortest or 0, max_size=min(longest or 8, 8))
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case inspect.BytesType():
            return st.binary(max_size=8)
        case inspect.EnumType():
            return st.sampled_from(list(kind.cls))
        case inspect.LiteralType():
            return st.sampled_from(kind.values)
        case inspect.AnyType():
            return st.one_of(
                st.booleans(), st.integers(0, 99), st.text(max_size=8), st.lists(st.text(max_size=8), max_size=3)
            )
        case inspect.UnionType():
            return st.one_of([values_of(one, large_floats=large_floats) for one in kind.types])
        case inspect.ListType():
            return st.lists(values_of(kind.item_type, large_floats=large_floats), max_size=3)
        case inspect.DictType():
            keys = values_of(kind.key_type, large_floats=large_floats)
            return st.dictionaries(keys, values_of(kind.value_type, large_floats=large_floats), max_size=3)
        case _:
            raise NotImplementedError(f"no strategy for {kind}")


@pytest.mark.parametrize("name", KINDS)
@given(st.data())
def test_every_record_is_written_as_orjson_writes_it(name: str, data: st.DataObject) -> None:
    record = data.draw(values_of(inspect.type_info(KINDS[name].type), large_floats=False))
    assert encode(record) == orjson.dumps(record, default=msgspec.to_builtins)


@pytest.mark.parametrize("name", KINDS)
@given(st.data())
def test_every_record_is_read_back_as_it_was_written(name: str, data: st.DataObject) -> None:
    record = data.draw(values_of(inspect.type_info(KINDS[name].type), large_floats=True))
    written = encode(record)
    assert decoder(KINDS[name].type).decode(written) == record
    assert encode(decoder(KINDS[name].type).decode(written)) == written


def test_only_the_exponent_of_large_floats_is_written_otherwise() -> None:
    assert (encode(1e16), orjson.dumps(1e16)) == (b"1e16", b"1e+16")
    assert encode(_BELOW_EXPONENT) == orjson.dumps(_BELOW_EXPONENT)


@pytest.mark.parametrize("make", [decoder, packed_decoder])
def test_decoders_are_made_one_at_a_time(make: Callable[[Any], Any]) -> None:
    """Two threads that made the decoder of one struct at once have ended a worker with a segmentation fault."""
    at_once, most, kinds = 0, 0, [msgspec.defstruct(f"Kind{number}", [("x", int)]) for number in range(8)]

    def slow(_kind: Any) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        go_on.wait(0.02)
        at_once -= 1

    go_on = threading.Event()
    module = "msgspec.json.Decoder" if make is decoder else "msgspec.msgpack.Decoder"
    with patch(module, slow), ThreadPoolExecutor(4) as threads:
        list(threads.map(make, kinds))
    assert most == 1
