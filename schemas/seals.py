"""Durable decisions of the join that are not in its inputs: record of `ads.seals`, its third input."""

from __future__ import annotations

from typing import Literal

import msgspec


class Start(msgspec.Struct, frozen=True, tag="start", tag_field="record"):
    """An owner of the partition began with `epoch`. A later `Seal` of a lower epoch is void."""

    epoch: int


class Seal(msgspec.Struct, frozen=True, tag="seal", tag_field="record"):
    """From `next_offset` of `input` on, the lateness bound of that log is at least `floor_ms`.

    Written when the log was seen to be idle while the other one moved on; `floor_ms` is the other log's own bound, so
    that historical loads behave as live ones.
    """

    input: Literal["impressions", "clicks"]
    partition: int
    next_offset: int
    floor_ms: int
    epoch: int


SealRecord = Start | Seal
