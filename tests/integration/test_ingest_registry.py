"""Values of a real registry: Avro, Protobuf and JSON Schema give what plain JSON gives, and a registry may be away."""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import fastavro
import orjson
import pytest
from confluent_kafka import Producer

from schemas.codec import decode
from schemas.records import Out
from schemas.rejects import Reason, Rejected
from streams.embedded.broker import Broker
from streams.engine.pace import Pace
from streams.ingest.forms import SchemaText, decoder_of
from streams.ingest.registry import Registry as Client
from streams.ingest.registry import RegistrySettings
from streams.ingest.schemas import Schemas
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.reads import read_log
from streams.kafka.settings import EXACT_DELIVERY, client_settings
from streams.verify.ingested import IngestVerification
from streams.worker.ingest import IngestSettings, IngestWorker, ingest_runner
from tests.ingesting import MAPPING, click, source, view
from tests.integration.registry_fixture import Registry
from tests.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.broker
EVENTS = [view(number) if number % 4 else click(number) for number in range(10_000)]

AD = {
    "type": "record",
    "name": "Ad",
    "fields": [{"name": name, "type": "string"} for name in ("campaign", "banner", "cost")],
}
AVRO = {
    "type": "record",
    "name": "Event",
    "fields": [
        {"name": "event", "type": {"type": "enum", "name": "Kind", "symbols": ["view", "click"]}},
        {"name": "id", "type": "string"},
        {"name": "req", "type": "string"},
        {"name": "at", "type": "long"},
        {"name": "ad", "type": ["null", "Ad"], "default": None},
    ],
}
AD_PROTO = 'syntax = "proto3"; message Ad { string campaign = 1; string banner = 2; string cost = 3; }'
PROTO = """syntax = "proto3";
import "ad.proto";
message Other { string nothing = 1; }
enum Kind { view = 0; click = 1; }
message Event { Kind event = 1; string id = 2; string req = 3; int64 at = 4; Ad ad = 5; }
"""


def framed(schema: int, body: bytes) -> bytes:
    return b"\0" + schema.to_bytes(4, "big") + body


def avro(registry: Registry, prefix: str) -> Callable[[dict[str, object]], bytes]:
    """What writes events in Avro; the schema of the ad is another one that it builds on."""
    registry.register(f"{prefix}ad", "AVRO", orjson.dumps(AD).decode())
    reference = [{"name": "Ad", "subject": f"{prefix}ad", "version": 1}]
    schema = registry.register(f"{prefix}avro-value", "AVRO", orjson.dumps(AVRO).decode(), reference)
    named: dict[str, dict[Any, Any]] = {}
    fastavro.parse_schema(AD, named_schemas=named)
    parsed = fastavro.parse_schema(AVRO, named_schemas=named)

    def write(event: dict[str, object]) -> bytes:
        body = io.BytesIO()
        fastavro.schemaless_writer(body, parsed, event)
        return framed(schema, body.getvalue())

    return write


def text_of(field: int, value: str) -> bytes:
    return bytes([field << 3 | 2, len(value)]) + value.encode()


def varint(value: int) -> bytes:
    more = b""
    while value > 127:
        more += bytes([value & 127 | 128])
        value >>= 7
    return more + bytes([value])


def protobuf(registry: Registry, prefix: str) -> Callable[[dict[str, object]], bytes]:
    """What writes events in Protobuf, byte by byte, so that nothing of the code under test takes part."""
    registry.register(f"{prefix}ad.proto", "PROTOBUF", AD_PROTO)
    reference = [{"name": "ad.proto", "subject": f"{prefix}ad.proto", "version": 1}]
    schema = registry.register(f"{prefix}proto-value", "PROTOBUF", PROTO, reference)

    def write(event: dict[str, object]) -> bytes:
        body = b"\x08\x01" if event["event"] == "click" else b""
        body += text_of(2, str(event["id"])) + text_of(3, str(event["req"])) + b"\x20" + varint(int(str(event["at"])))
        ad = event.get("ad")
        if isinstance(ad, dict):
            inner = b"".join(text_of(place, ad[name]) for place, name in enumerate(("campaign", "banner", "cost"), 1))
            body += b"\x2a" + varint(len(inner)) + inner
        # The second message of the file.
        return framed(schema, b"\x02\x02" + body)

    return write


def json_schema(registry: Registry, prefix: str) -> Callable[[dict[str, object]], bytes]:
    schema = registry.register(
        f"{prefix}json-value", "JSON", '{"$schema":"http://json-schema.org/draft-07/schema#","type":"object"}'
    )
    return lambda event: framed(schema, orjson.dumps(event))


@pytest.fixture
def cluster(broker: Broker, topic_prefix: str) -> Cluster:
    return Cluster(broker.bootstrap, prefix=topic_prefix)


@contextmanager
def settings(
    cluster: Cluster, url: str, tmp_path: Path, *names: str, mapping: str = MAPPING
) -> Iterator[IngestSettings]:
    client = Client(RegistrySettings(url))
    schemas = Schemas(client.fetch)
    with closing(client):
        yield IngestSettings(
            cluster=cluster,
            sources=[source(mapping, topic=cluster.prefix + name, schemas=schemas) for name in names],
            schemas=schemas,
            group=cluster.group("ingest"),
            state_dir=tmp_path,
            pace=Pace(commit_s=0.02),
        )


def produce(
    cluster: Cluster, values: Sequence[bytes], name: str, headers: list[tuple[str, bytes]] | None = None
) -> None:
    admin = Admin(cluster)
    admin.create(partitions=1)
    admin.create_topic(cluster.prefix + name, partitions=1, config={})
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY))
    for value in values:
        producer.produce(cluster.prefix + name, value, headers=[*(headers or ())])
    assert producer.flush(PATIENCE_S) == 0


def written(cluster: Cluster) -> list[Out]:
    return [
        Out(log, record.key, record.value)
        for log in ("impressions", "clicks", "rejects")
        for record in read_log(cluster, log, 0)
    ]


def test_ten_thousand_events_in_json_avro_and_protobuf_give_identical_records(
    cluster: Cluster, registry: Registry, tmp_path: Path
) -> None:
    forms: dict[str, Callable[[dict[str, object]], bytes]] = {"plain": orjson.dumps}
    for name, make in (("avro", avro), ("proto", protobuf), ("json", json_schema)):
        forms[name] = make(registry, cluster.prefix)
    for name, write in forms.items():
        produce(cluster, [write(event) for event in EVENTS], name)
    with settings(cluster, registry.url, tmp_path, *forms) as made, ingest_runner(made, print) as runner:
        runner.run(lambda: False, lambda: True)
    found = Counter(written(cluster))
    assert {out.topic for out in found} == {"impressions", "clicks"}
    assert len(found) == len(EVENTS)
    assert set(found.values()) == {len(forms)}


def test_ids_in_headers_of_both_vendors_give_what_ids_before_the_value_give(
    cluster: Cluster, registry: Registry, tmp_path: Path
) -> None:
    events = EVENTS[:500]
    writes = {"avro": avro(registry, cluster.prefix), "proto": protobuf(registry, cluster.prefix)}
    bodies = {name: [write(event)[5:] for event in events] for name, write in writes.items()}
    ids = {name: int.from_bytes(write(events[0])[1:5], "big") for name, write in writes.items()}
    # The same text once more has its former number and another global id, so that they differ.
    registry.register(f"{cluster.prefix}again", "AVRO", orjson.dumps(AD).decode())
    subject = f"{cluster.prefix}avro-once-more"
    reference = [{"name": "Ad", "subject": f"{cluster.prefix}ad", "version": 1}]
    assert registry.register(subject, "AVRO", orjson.dumps(AVRO).decode(), reference) == ids["avro"]
    global_id = registry.global_id(subject)
    assert global_id != ids["avro"]
    long = {name: number.to_bytes(8, "big") for name, number in (*ids.items(), ("global", global_id))}
    produce(cluster, [write(event) for write in [writes["avro"]] for event in events], "before")
    produce(cluster, bodies["avro"], "content", [("apicurio.value.contentId", long["avro"])])
    produce(cluster, bodies["avro"], "global", [("apicurio.value.globalId", long["global"])])
    produce(cluster, bodies["avro"], "confluent", [("__value_schema_id", framed(ids["avro"], b""))])
    # Apicurio names the message, and Confluent writes the indexes that else begin the value.
    without = [body[2:] for body in bodies["proto"]]
    named = [("apicurio.value.contentId", long["proto"]), ("apicurio.protobuf.type", b"Event")]
    produce(cluster, without, "named", named)
    produce(cluster, without, "indexed", [("__value_schema_id", framed(ids["proto"], b"\x02\x02"))])
    names = ("before", "content", "global", "confluent", "named", "indexed")
    mapping = f"headers = true\n{MAPPING}"
    with settings(cluster, registry.url, tmp_path, *names, mapping=mapping) as made:
        with ingest_runner(made, print) as runner:
            runner.run(lambda: False, lambda: True)
        found = Counter(written(cluster))
        assert {out.topic for out in found} == {"impressions", "clicks"}
        assert len(found) == len(events)
        assert set(found.values()) == {len(names)}
        assert IngestVerification(cluster, made.group, made.sources, made.schemas).check(max_shown=1).differing == 0
        produce(cluster, bodies["avro"][:1], "content", [("apicurio.value.globalId", (2**40).to_bytes(8, "big"))])
        with ingest_runner(made, print) as runner:
            runner.run(lambda: False, lambda: True)
    (letter,) = [decode(out.value or b"", Rejected) for out in written(cluster) if out.topic == "rejects"]
    assert (letter.reason, letter.detail) == (Reason.SCHEMA, f"the registry has no schema with the global id {2**40}")


def test_a_registry_that_is_down_is_waited_for_and_a_schema_that_is_gone_is_a_dead_letter(
    cluster: Cluster, registry: Registry, tmp_path: Path
) -> None:
    write = avro(registry, cluster.prefix)
    known, unknown = [write(event) for event in EVENTS[:50]], framed(2_000_000_000, b"x")
    produce(cluster, known, "shop")
    # Nobody listens there; later the registry does.
    away = Registry(tmp_path)
    warnings, over = list[str](), threading.Event()
    with settings(cluster, away.url, tmp_path, "shop") as made, ingest_runner(made, warnings.append) as runner:
        worker = IngestWorker(made)
        thread = threading.Thread(target=runner.run, args=(over.is_set,))
        thread.start()
        try:
            eventually(lambda: made.waiting.why, what="the wait")
            assert "does not answer" in made.waiting.why
            assert not worker.ready()
            eventually(runner.ready, what="the partitions")
            assert written(cluster) == []
            away.start()
            again = avro(away, cluster.prefix)
            assert again(EVENTS[0])[5:] == known[0][5:]
            produce(cluster, [again(EVENTS[0]), unknown], "shop")
            eventually(lambda: made.waiting.why, equals="", what="the end of the wait")
            eventually(lambda: len(written(cluster)), lambda count: count >= 2, what="outputs")
        finally:
            over.set()
            thread.join()
            away.stop()
    letters = [decode(out.value or b"", Rejected) for out in written(cluster) if out.topic == "rejects"]
    assert (letters[-1].reason, letters[-1].offset) == (Reason.SCHEMA, 51)
    assert letters[-1].detail == "the registry has no schema 2000000000"
    assert any("nothing is rejected for it" in warning for warning in warnings)


def test_indexes_of_nested_messages_leave_out_the_entries_of_maps() -> None:
    text = 'syntax = "proto3"; message A { map<string, int32> m = 1; message In { string x = 1; } }'
    assert decoder_of(SchemaText("PROTOBUF", text))(b"\x04\x00\x00" + text_of(1, "y"), None) == {"x": "y"}
