"""Durable decisions of the join that do not follow from its inputs: records of `ads.seals`, its third input."""

from __future__ import annotations

from typing import Literal

import msgspec

from schemas.events import EventMs


class Start(msgspec.Struct, frozen=True, tag="start", tag_field="record"):
    """An owner of the partition began with this `epoch`. A later `Seal` of a lower epoch is void."""

    epoch: int
    """Epoch of the owner."""


class Seal(msgspec.Struct, frozen=True, tag="seal", tag_field="record"):
    """From `next_offset` of `input` on, the watermark of that log is at least `floor_ms`.

    It is written when the log is idle and the other one is not. `floor_ms` is the watermark of the other log and not a
    time of the wall clock. So a load of history decides as live work does.
    """

    input: Literal["impressions", "clicks"]
    """The log that is idle."""
    partition: int
    """Its partition."""
    next_offset: int
    """First offset to which the seal applies."""
    floor_ms: EventMs
    """The watermark of that log is at least this, from there on."""
    epoch: int
    """Epoch of the owner that wrote it."""
    confirmed_ms: EventMs = 0
    """Records of that log that wait for confirmation and have a `ts` up to this need none: by the worker's clock, such
    moments have passed. 0: none."""


SealRecord = Start | Seal
