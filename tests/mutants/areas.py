"""Which files are mutated, and which tests decide about each: the quick ones first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

# The widest tests of the join: any interleaving, any crash. They come last, as they take longest.
_HISTORIES: Final = ("test_confirm", "test_replay_owning", "test_simulation")
_JOIN: Final = (
    "test_join",
    "test_mark",
    "test_former_rules",
    "test_moved_mark",
    "test_outcomes",
    "test_late",
    "test_idle_inputs",
    "test_lost_history",
)
_DAMAGE: Final = ("test_damaged_state",)
_COUNTING: Final = ("test_counting", "test_packed")
_SHARED: Final = ("test_shared_pieces", "test_sharing", "test_snapshots")
_CHECKPOINTS: Final = ("test_checkpoints", "test_checkpoint_turns", "test_recovery", "test_start_refused")
_STORE: Final = ("test_store", "test_join_index")

# A file, or all files of a folder that have no row of their own: names of files in tests/.
AREAS: Final[dict[str, tuple[str, ...]]] = {
    "streams/kernels/scan.py": ("test_scanner_subset", "test_kernels", "test_kernel_bounds", "test_join"),
    "streams/kernels/tokens.py": ("test_scanner_subset", "test_kernels", "test_kernel_bounds", "test_join"),
    "streams/kernels/hashing.py": ("test_kernel_bounds", "test_kernels"),
    "streams/kernels/names.py": ("test_kernels", "test_kernel_bounds", *_COUNTING),
    "streams/kernels/columns.py": ("test_kernel_bounds", *_COUNTING),
    "streams/kernels/totals.py": ("test_kernels", "test_kernel_bounds", *_COUNTING),
    "streams/kernels/gather.py": ("test_kernels", "test_kernel_bounds", "test_store", "test_join"),
    "streams/kernels/index.py": ("test_kernel_bounds", "test_join_index", "test_join"),
    "streams/kernels/messages.py": ("test_kernel_messages",),
    "streams/join": (
        *_JOIN,
        *_STORE,
        *_DAMAGE,
        *_COUNTING,
        "test_backpressure",
        "test_metrics",
        "test_state_size",
        "test_scanned",
        *_HISTORIES,
    ),
    "streams/join/totals": (*_COUNTING, "test_state_size", *_JOIN, *_DAMAGE, *_HISTORIES),
    "streams/state": ("test_disk", *_DAMAGE, *_CHECKPOINTS, *_SHARED),
    "streams/kafka/transactions.py": ("test_transactions", "test_transaction_calls"),
    "streams/engine/recovery.py": (*_CHECKPOINTS, "test_lost_history", *_SHARED, "test_simulation"),
    "streams/engine/checkpoint.py": (*_CHECKPOINTS, *_DAMAGE, *_SHARED, "test_simulation"),
}
# Sizes and times that decide how fast, how large or how long, and not what: outputs are the same with any others, and
# tests replace most of them (`tests.sizes`). One more or one less says nothing.
TUNING: Final[dict[str, tuple[str, ...]]] = {
    "streams/engine/checkpoint.py": ("_WHOLE",),
    "streams/engine/recovery.py": ("_WORTH_RECORDS", "_AT_ONCE"),
    "streams/join/index.py": ("SMALLEST_ROWS", "_ROWS", "_OF_SLOTS"),
    "streams/join/pending.py": ("_CLICK_BYTES", "_LOW_BITS"),
    "streams/join/state.py": ("_CONFLICT_BYTES",),
    "streams/join/store.py": ("ROW_BITS", "_ROW_BYTES", "_READ_BYTES"),
    "streams/join/totals/counting.py": ("_MOST_WAITING", "_RECORD_ROWS", "_LARGEST_BYTES"),
    "streams/join/totals/journal.py": ("_WASTE", "_SMALL_BYTES", "_ENTRY_ROW_BYTES"),
    "streams/join/totals/names.py": ("_FIRST_NAMES",),
    "streams/join/totals/tables.py": ("_FIRST_ROWS",),
    "streams/join/trail.py": ("BLOCK_RECORDS",),
    "streams/kernels/index.py": ("_AHEAD",),
    "streams/state/disk.py": ("_MOST_QUEUED", "_SHORT_READ"),
    "streams/state/download.py": ("_AT_ONCE", "_MOST_MANIFESTS"),
    "streams/state/objects.py": ("_TRIES", "_WAITS"),
    "streams/state/sharing.py": ("LAST_S", "FETCH_S", "_DOWN_S", "_HOLD_S"),
    "streams/state/upload.py": ("PIECE_BYTES", "GRACE_S"),
}
# They measure memory or time, which says nothing of a mutant and takes long.
LEFT_OUT: Final = ("tests/test_join_index.py::test_memory_follows_what_is_held",)


def mutated_files(root: Path) -> Iterator[str]:
    """All files that are mutated, by their paths below the root, in order."""
    found: set[Path] = set()
    for area in AREAS:
        whole = root / area
        found.update([whole] if whole.suffix else whole.rglob("*.py"))
    yield from sorted(path.relative_to(root).as_posix() for path in found)


def deciding_tests(path: str) -> tuple[str, ...]:
    """The test files that decide about a file, in the order in which they run."""
    area = max((area for area in AREAS if path == area or path.startswith(f"{area}/")), key=len)
    return tuple(f"tests/{name}.py" for name in AREAS[area])
