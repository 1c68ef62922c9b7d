"""The rows of pacing state in Kafka, and where reading must go on after them.

Every row says who wrote it (`epoch`, higher than any the new owner of the partition has seen, and `owner`, a random
number) and up to where that owner had counted when it began the batch the row belongs to (`position`: all totals below
this offset are counted in the rows before it). Rows of one batch are sent after all rows of the batch before are
acknowledged. So the position of the last row is where to go on, whatever moment the owner died at: counting a total
twice changes nothing.

Offsets committed to the consumer group are not used: Faust commits those of events whose agent raised, and of events
it skipped behind a gap.

A former owner that was taken for dead may still write (a zombie). Its row can replace a newer one of the same key, and
compaction then removes the newer one. It is found by its epoch, not higher than one before it from another owner, and
reading goes on from *its* position: the lost counts are read again from `campaign_totals`. There always is a row to be
found by: each owner begins with one under a key of its own, which only a later owner deletes. Two owners can have the
same epoch when the later one read before the earlier one wrote; the random number tells them apart.
"""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.errors import StateMismatch
from schemas.events import Campaign
from schemas.pacing import PacingDecision
from streams.pacing.clock import Anchor

# Position of an owner that has counted nothing yet: read whatever is kept.
BEGINNING: Final = -1
_HEAD, _DAY, _OWNER = "c", "d", "o"
# Two layouts could not be told apart by msgpack alone. Raised when the meaning of a row changes.
_LAYOUT: Final = 1


class Row(msgspec.Struct, array_like=True, frozen=True):
    """Value of one changelog record; `body` is msgpack of what its key names."""

    layout: int
    epoch: int
    owner: int
    position: int
    body: msgspec.Raw


class Head(msgspec.Struct, array_like=True):
    """What is known of a campaign beside its counters; `anchor`: of the clock the decision was made by."""

    campaign: Campaign | None = None
    decision: PacingDecision | None = None
    anchor: Anchor | None = None


def head_key(campaign_id: str) -> bytes:
    """Key of a campaign's head row."""
    return f"{_HEAD}{campaign_id}".encode()


def day_key(campaign_id: str, day: int) -> bytes:
    """Key of the counters of one campaign and UTC day (days since 1970, at most 99,999)."""
    return f"{_DAY}{day:05d}{campaign_id}".encode()


def owner_key(*, epoch: int, owner: int) -> bytes:
    """Key of the row an owner begins with."""
    return f"{_OWNER}{epoch}.{owner}".encode()


def is_owner_key(key: bytes) -> bool:
    """Whether this is the key of some owner's row."""
    return key.startswith(_OWNER.encode())


def parse_key(key: bytes) -> tuple[str, int | None]:
    """Campaign, and UTC day or None for its head row."""
    text = key.decode()
    return (text[6:], int(text[1:6])) if text[0] == _DAY else (text[1:], None)


def encode_row(body: object, *, epoch: int, owner: int, position: int) -> bytes:
    """The bytes of a row."""
    return msgspec.msgpack.encode(Row(_LAYOUT, epoch, owner, position, msgspec.Raw(msgspec.msgpack.encode(body))))


def decode_row(value: bytes) -> Row:
    """The row of these bytes. Raises StateMismatch when another program wrote them."""
    try:
        row = _rows.decode(value)
    except msgspec.MsgspecError as failure:
        raise StateMismatch(f"a row of the pacing changelog cannot be read ({failure}); give another app id") from None
    if row.layout != _LAYOUT:
        raise StateMismatch(
            f"the pacing changelog has layout {row.layout}, this program reads {_LAYOUT}; give another app id, and "
            "counters are read again from campaign_totals"
        )
    return row


class Origin:
    """Where to go on after a changelog read so far: fed with every row in order, see the module.

    `position` is the next offset of `campaign_totals` to read, or BEGINNING.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.position = BEGINNING
        self._owner = 0
        self._zombie = False

    def read(self, row: Row) -> None:
        """The next row of the changelog."""
        if row.epoch > self.epoch:
            # A new owner knows of the zombies before it and has started where they left off.
            self.epoch, self._owner, self.position = row.epoch, row.owner, row.position
            self._zombie = False
        elif row.owner != self._owner:
            self.position, self._zombie = min(self.position, row.position), True
        elif not self._zombie:
            self.position = max(self.position, row.position)


_rows: Final = msgspec.msgpack.Decoder(Row)
