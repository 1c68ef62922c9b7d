"""What tests of ingest share: one mixed topic with any keys, its mapping, and what a direct mapping makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

import orjson

from schemas.records import Headers, Out, Records
from streams.ingest.fold import IngestFold
from streams.ingest.schemas import Schemas
from streams.ingest.source import Source
from streams.ingest.values import Values
from streams.mapping.compiled import Compiled
from streams.mapping.language import read_mapping

TOPIC = "shop.events"
MAPPING = """
[impressions]
impression_id = "req"
ts = { path = "at", unit = "s" }
campaign_id = "ad.campaign"
creative_id = "ad.banner"
price_micros = { path = "ad.cost", unit = "units" }
[impressions.where]
event = "view"

[clicks]
click_id = "id"
impression_id = "req"
ts = { path = "at", unit = "s" }
[clicks.where]
event = "click"
"""
T0_S = 1_790_000_000


def directly(
    values: Sequence[bytes | None],
    *,
    partition: int = 0,
    of: Source | None = None,
    offsets: Sequence[int] | None = None,
) -> list[Out]:
    """What one ingest writes that reads a whole partition at once."""
    if not values:
        return []
    mapping = of or source()
    fold = IngestFold(mapping, partition=partition)
    fold.begin(None, offsets={mapping.topic: 0}, epoch=1)
    return fold.step(batch(values, partition=partition, topic=mapping.topic, offsets=offsets))


def source(text: str = MAPPING, topic: str = TOPIC, schemas: Schemas | None = None) -> Source:
    """The source of a mapping."""
    file = read_mapping(text, "m.toml")
    inputs = {log: Compiled(one) for log, one in file.inputs.items()}
    values = Values(inputs.values(), schemas)
    return Source(topic, inputs, values, name=file.name, digest=file.digest, with_headers=file.headers)


def view(number: int, **more: Any) -> dict[str, Any]:
    ad = {"campaign": f"c{number % 3}", "banner": "b", "cost": "0.25"}
    return {"event": "view", "id": f"v{number}", "req": f"r{number}", "at": T0_S + number, "ad": ad, **more}


def click(number: int, **more: Any) -> dict[str, Any]:
    return {"event": "click", "id": f"k{number}", "req": f"r{number}", "at": T0_S + number + 5, **more}


def traffic(count: int, seed: int = 1) -> Iterator[bytes | None]:
    """Values of every kind that a source may have."""
    luck = Random(seed)
    for number in range(count):
        match luck.randrange(20):
            case 0:
                yield None
            case 1:
                yield b"{"
            case 2:
                yield orjson.dumps(view(number, at="yesterday"))
            case 3:
                yield orjson.dumps({"event": "scroll", "id": number})
            case 4 | 5 | 6 | 7:
                yield orjson.dumps(click(number))
            case _:
                yield orjson.dumps(view(number))


def batch(
    values: Sequence[bytes | None],
    *,
    partition: int = 0,
    start: int = 0,
    topic: str = TOPIC,
    offsets: Sequence[int] | None = None,
    headers: Sequence[Headers] | None = None,
) -> Records:
    """Records of a source, in the order of their offsets: those given, or one behind the other from `start`."""
    offsets = range(start, start + len(values)) if offsets is None else offsets
    stamps = [1_000 * (T0_S + offset) for offset in offsets]
    return Records(topic, partition, list(offsets), stamps, [b"any key"] * len(values), list(values), headers)


# ---- CloudEvents ----------------------------------------------------------------------------------------------------

# Both modes, and plain objects of the same form.
EVENTS_MAPPING = """
headers = true

[impressions]
impression_id = "data.req"
ts = { path = "time", unit = "iso" }
campaign_id = "campaign"
creative_id = "data['ad banner']"
price_micros = { path = "data.cost", unit = "units" }
[impressions.where]
type = "shop.view"
[impressions.features]
source = "source"

[clicks]
click_id = "id"
impression_id = "data.req"
ts = { path = "time", unit = "iso" }
[clicks.where]
type = "shop.click"
"""
# A value and the headers of its record.
Message = tuple[bytes | None, list[tuple[str, bytes]]]


def event(number: int, *, kind: str = "view") -> dict[str, Any]:
    """A CloudEvent as its JSON form has it."""
    data: dict[str, Any] = {"req": f"r{number}"} | ({"ad banner": "bé", "cost": "0.25"} if kind == "view" else {})
    return {
        "specversion": "1.0",
        "id": f"{kind}-{number}",
        "type": f"shop.{kind}",
        "source": "/shop/ünï",
        "time": datetime.fromtimestamp(T0_S + number, UTC).isoformat(),
        "campaign": f"c{number % 3}",
        "datacontenttype": "application/json",
        "data": data,
    }


def structured(event: dict[str, Any], content: str = "application/cloudevents+json; charset=UTF-8") -> Message:
    """The record of an event in structured mode."""
    return orjson.dumps(event), [("content-type", content.encode())] if content else []


def binary(event: dict[str, Any], data: bytes | None = None) -> Message:
    """The record of an event in binary mode; `data` are other bytes in place of its data as JSON."""
    headers = [(f"ce_{name}", str(value).encode()) for name, value in event.items() if name not in ("data", _CONTENT)]
    if _CONTENT in event:
        headers.append(("content-type", event[_CONTENT].encode()))
    if data is None and "data" in event:
        data = orjson.dumps(event["data"])
    return data, headers


_CONTENT = "datacontenttype"
