"""The rows of pacing state in Kafka, and the offset from which totals must be read after them.

There is a row for each campaign and one for each of its UTC days. What the law remembers of 128 campaigns is one row: a
row takes longer to send than a campaign to pack. Rows are written some time after what they hold has changed, so that
many changes make one row; `flushing` has the order.

Every row names its writer: `epoch`, which is higher than any that the new owner of a partition has read, and `owner`, a
random number. It also has the writer's `position` at the start of the batch that the row belongs to: all totals below
this offset are counted in the rows before it. Rows of a batch are sent after all rows of the batch before have been
acknowledged. So the position of the last row is where to read on, whenever the owner died: counting a total twice
changes nothing. What the law remembers may be lost or replaced by an older row: it learns it again.

Offsets committed to the consumer group are not used. Faust commits those of events whose agent raised, and of events
that it skipped after a gap.

A zombie is a former owner that was taken for dead and still writes. Its row can replace a newer one of the same key,
and compaction then removes the newer one. A zombie's row is recognised by its epoch, which is not higher than that of
an earlier row of another owner. Then reading goes on from the *zombie's* position, so that the lost counts are read
again from `campaign_totals`. The earlier row is always there: each owner begins by writing one under a key of its own,
which only a later owner deletes. Two owners can have the same epoch when the later one read before the earlier one
wrote; the random number distinguishes them.
"""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.errors import StateMismatch
from schemas.events import Campaign
from schemas.pacing import PacingDecision
from streams.pacing.clock import Anchor
from streams.pacing.law.memory import Learnt

# Position of an owner that has counted nothing yet: read from the first offset that Kafka keeps.
BEGINNING: Final = -1
_HEAD, _DAY, _OWNER, _MEMORY, _SHAPE = "c", "d", "o", "m", "s"
# msgpack alone would not distinguish two layouts. Raise it when the meaning of a row changes.
_LAYOUT: Final = 1


class Row(msgspec.Struct, array_like=True, frozen=True):
    """Value of one changelog record. `body` is msgpack: a `Head`, `DayCounters`, `Memory`, or nil in an owner's row."""

    layout: int
    epoch: int
    owner: int
    position: int
    body: msgspec.Raw


class Head(msgspec.Struct, array_like=True):
    """What is known of a campaign beside its counters.

    `decision` and `anchor`, the clock's at that time, are in rows of version 0.1 only. `change` is the number of the
    change that brought `campaign`; 0 in rows of the version before the gate. `forgotten`: its last record of
    `ads.pacing` is a tombstone.
    """

    campaign: Campaign | None = None
    decision: PacingDecision | None = None
    anchor: Anchor | None = None
    change: int = 0
    forgotten: bool = False


class Memory(msgspec.Struct, array_like=True):
    """What the law remembers of some campaigns, `width` doubles each, and of all together.

    In a row of how traffic is spread, `width` is bytes and `states` has so many of each campaign.
    `version` is that of the last decisions. Of two rows with one campaign the one with the higher version counts.
    """

    version: int
    campaigns: list[str]
    width: int
    states: bytes
    learnt: Learnt | None = None
    anchor: Anchor | None = None


def head_key(campaign_id: str) -> bytes:
    """Key of a campaign's head row."""
    return f"{_HEAD}{campaign_id}".encode()


def memory_key(number: int) -> bytes:
    """Key of a row of what the law remembers."""
    return f"{_MEMORY}{number:06d}".encode()


def shape_key(number: int) -> bytes:
    """Key of a row of how the traffic of campaigns is spread over the day."""
    return f"{_SHAPE}{number:06d}".encode()


def is_memory_key(key: bytes, *, shapes: bool | None = None) -> bool:
    """Whether this is the key of a row of what the law remembers: of spreads, of all but these, or any."""
    return (shapes is not False and key[:1] == b"s") or (not shapes and key[:1] == b"m")


def day_key(campaign_id: str, day: int) -> bytes:
    """Key of the counters of one campaign and UTC day (in days since 1970, at most 99,999)."""
    return f"{_DAY}{day:05d}{campaign_id}".encode()


def owner_key(*, epoch: int, owner: int) -> bytes:
    """Key of the row that an owner writes first."""
    return f"{_OWNER}{epoch}.{owner}".encode()


def is_owner_key(key: bytes) -> bool:
    """Whether this is the key of an owner's first row."""
    return key.startswith(_OWNER.encode())


def parse_key(key: bytes) -> tuple[str, int | None]:
    """The campaign, and the UTC day, or None for a head row."""
    text = key.decode()
    return (text[6:], int(text[1:6])) if text[0] == _DAY else (text[1:], None)


# Nothing is lost by it that Kafka still has.
_ANEW: Final = (
    "stop the pacing workers and delete the topic pace-state-changelog (with the topic prefix): the next start counts "
    "again from campaign_totals"
)


def encode_row(body: object, *, epoch: int, owner: int, position: int) -> bytes:
    """The bytes of a row."""
    raw = body if isinstance(body, msgspec.Raw) else msgspec.Raw(msgspec.msgpack.encode(body))
    return msgspec.msgpack.encode(Row(_LAYOUT, epoch, owner, position, raw))


def decode_row(value: bytes) -> Row:
    """The row in these bytes. Raises StateMismatch when another program wrote them."""
    try:
        row = _rows.decode(value)
    except msgspec.MsgspecError as failure:
        raise StateMismatch(f"a row of the pacing changelog cannot be read ({failure}); {_ANEW}") from None
    if row.layout != _LAYOUT:
        raise StateMismatch(f"the pacing changelog has layout {row.layout}, this program reads {_LAYOUT}; {_ANEW}")
    return row


class Origin:
    """Where to read on after a changelog: give it every row in order. The module's docstring says how it decides.

    `position` is the next offset of `campaign_totals` to read, or BEGINNING.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.position = BEGINNING
        self._owner = 0
        self._zombie = False

    def read(self, row: Row) -> None:
        """Takes the next row of the changelog."""
        if row.epoch > self.epoch:
            # A new owner has read the rows of zombies before it, and started from the position they led to.
            self.epoch, self._owner, self.position = row.epoch, row.owner, row.position
            self._zombie = False
        elif row.owner != self._owner:
            self.position, self._zombie = min(self.position, row.position), True
        elif not self._zombie:
            self.position = max(self.position, row.position)


_rows: Final = msgspec.msgpack.Decoder(Row)
