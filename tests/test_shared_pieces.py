"""Pieces of shared files that the next owner uses again, and the keys under which they lie."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

import streams.state.upload
from streams.engine.checkpoint import MANIFEST
from streams.state.layout import epoch, epoch_number, manifest_key, stem, stems
from streams.state.objects import ObjectStore
from streams.state.upload import GRACE_S, Uploader
from tests.sharing import MemoryObjects, fetched, put

FORMER = b"aaaabbbbcccc"


@pytest.mark.parametrize(
    ("data", "written"),
    [
        (FORMER, b""),
        (b"aaaabbbbccccd", b"d"),
        (b"aaaaXbbbcccc", b"Xbbbcccc"),
        (b"Xaaabbbbcccc", b"Xaaabbbbcccc"),
        (b"aaaabbbbcccX", b"cccX"),
        (b"aaaabbbbccc", b"ccc"),
        (b"aaaabbbb", b""),
        (b"", b""),
    ],
)
def test_the_next_owner_uses_the_leading_equal_pieces_again_and_no_others(data: bytes, written: bytes) -> None:
    objects = MemoryObjects()
    with patch.object(streams.state.upload, "PIECE_BYTES", 4):
        put(Uploader(objects, number=5, token="a"), 1, {"one": FORMER})
        uploader = Uploader(objects, number=6, token="b")
        before = set(objects.held)
        put(uploader, 2, {"one": data})
    assert fetched(objects) == ({MANIFEST: b"state2", "one": data}, True)
    pieces = sorted(key for key in set(objects.held) - before if ".one." in key)
    assert b"".join(objects.held[key] for key in pieces) == written


def test_an_object_that_no_owner_wrote_is_never_cleared_away() -> None:
    objects = MemoryObjects()
    objects.write("notes.manifest", b"somebody's")
    put(Uploader(objects, number=5, token="a"), 1, {"one": FORMER})
    uploader = Uploader(objects, number=6, token="b")
    put(uploader, 2, {"one": b""})
    for now_s in (0.0, GRACE_S):
        uploader.clear_away(now_s)
    assert [key for key in objects.held if epoch_number(key) < 6] == ["notes.manifest"]


def test_snapshots_are_listed_newest_first_and_only_those_of_an_owner() -> None:
    objects = MemoryObjects()
    names = [stem(epoch(0, "a"), 1), stem(epoch(5, "a"), 2), stem(epoch(5, "a"), 10), stem(epoch(40, "a"), 1)]
    for name in names:
        objects.write(manifest_key(name), b"")
    for other in ("notes.manifest", "12.manifest", f"{names[0]}.state"):
        objects.write(other, b"")
    assert stems(objects) == names[::-1]


@pytest.mark.parametrize(
    ("key", "number"),
    [("000000000007-a.1.state", 7), ("000000000000-a", 0), ("00000000000x-a", -1), ("00000000007", -1), ("", -1)],
)
def test_an_object_that_no_owner_wrote_has_no_epoch(key: str, number: int) -> None:
    assert epoch_number(key) == number


def test_no_listing_and_no_client_is_cached(tmp_path: Path) -> None:
    """A cached listing would hide what another worker wrote."""
    one, other = (ObjectStore(f"file://{tmp_path}")._files for _ in range(2))
    assert one is not other
    assert one.storage_options["use_listings_cache"] is False
