"""What the pacing worker is told at start, and Kafka's side of it checked once."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import faust
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from schemas.errors import SettingsError, Transient
from schemas.topics import topic_name

_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_ASK_BOUND_S: Final = 10.0
# Rows are rewritten up to once a tick, and the newest segment is never compacted: 16 MiB of rows are read back in
# about 3 s.
_CHANGELOG: Final = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.2", "segment.bytes": str(16 << 20)}


@dataclass(frozen=True, kw_only=True)
class PacingSettings:
    """Kafka as librdkafka names it, and the worker's own. Raises SettingsError when they cannot work together.

    `app_id` names the consumer group and, with '-state-changelog' behind it, the changelog topic; '' is the topic
    prefix and 'pace'. `web_port` serves the JSON view, unprotected, hence the loopback by default. A worker that was
    killed holds its partitions for `session_timeout_s`; one started again with the same `instance_id` (any name, one a
    worker; '' for none) takes them over at once.
    """

    bootstrap_servers: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str = ""
    sasl_password: str = field(default="", repr=False)
    ssl_ca_location: str = ""
    topic_prefix: str = "ads."
    app_id: str = ""
    data_dir: str = "data/pace"
    web_host: str = "127.0.0.1"
    web_port: int = 6066
    tick_s: float = 1.0
    instance_id: str = ""
    session_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        if not self.bootstrap_servers:
            raise SettingsError("KAFKA_BOOTSTRAP_SERVERS is empty; give host:port of the broker")
        if self.security_protocol not in _PROTOCOLS:
            raise SettingsError(f"KAFKA_SECURITY_PROTOCOL is {self.security_protocol!r}; give {', '.join(_PROTOCOLS)}")
        if self.security_protocol.startswith("SASL") and self.sasl_mechanism not in _MECHANISMS:
            raise SettingsError(f"KAFKA_SASL_MECHANISM is {self.sasl_mechanism!r}; give {', '.join(_MECHANISMS)}")
        if not 0.5 <= self.session_timeout_s <= 60:
            raise SettingsError(f"session timeout is {self.session_timeout_s} s; give one from 0.5 to 60, such as 10")
        if not 0.01 <= self.tick_s <= 60:
            raise SettingsError(f"tick is {self.tick_s} s; give one from 0.01 to 60, such as 1")

    @property
    def group(self) -> str:
        """Consumer group and app id."""
        return self.app_id or f"{self.topic_prefix}pace"

    @property
    def changelog(self) -> str:
        """The topic that holds the state; Faust derives the same name."""
        return f"{self.group}-state-changelog"

    def topic(self, role: str) -> str:
        """Name of a topic by its role."""
        return topic_name(role, self.topic_prefix)


def from_environment(environment: Mapping[str, str], **more: Any) -> PacingSettings:
    """Settings from the KAFKA_* variables every worker shares; `more` are fields of PacingSettings."""
    names = ("bootstrap_servers", "security_protocol", "sasl_mechanism", "sasl_username", "sasl_password")
    given = {name: environment.get(f"KAFKA_{name.upper()}") for name in (*names, "ssl_ca_location")}
    found = {name: value for name, value in given.items() if value}
    return PacingSettings(**{"bootstrap_servers": "", **found, **more})


def credentials(settings: PacingSettings) -> Any:
    """The same security for Faust; None for PLAINTEXT. Raises SettingsError when the CA file cannot be read."""
    context = None
    if settings.security_protocol in ("SSL", "SASL_SSL"):
        try:
            context = ssl.create_default_context(cafile=settings.ssl_ca_location or None)
        except OSError as failure:
            raise SettingsError(f"KAFKA_SSL_CA_LOCATION cannot be read: {failure}") from failure
    if settings.security_protocol == "PLAINTEXT":
        return None
    if settings.security_protocol == "SSL":
        return faust.SSLCredentials(context)
    return faust.SASLCredentials(
        username=settings.sasl_username,
        password=settings.sasl_password,
        ssl_context=context,
        mechanism=settings.sasl_mechanism,
    )


def prepare_topics(settings: PacingSettings) -> int:
    """Partitions of the campaign topics, after the changelog has been created if it did not exist.

    Raises SettingsError when a topic is missing or counts differ, Transient when Kafka does not answer. The changelog
    is not left to Faust: it refuses -1, the broker's own replication factor.
    """
    admin = AdminClient(_librdkafka(settings))
    try:
        topics = admin.list_topics(timeout=_ASK_BOUND_S).topics
        names = [settings.topic(role) for role in ("campaign_totals", "campaigns", "pacing")]
        missing = [name for name in names if name not in topics]
        if missing:
            raise SettingsError(f"topics {', '.join(missing)} do not exist; create them with `clickfold init`")
        counts = {name: len(topics[name].partitions) for name in [*names, settings.changelog] if name in topics}
        if len(set(counts.values())) != 1:
            raise SettingsError(f"partition counts differ: {counts}; a campaign must have one partition number in all")
        partitions = counts[names[0]]
        if settings.changelog not in topics:
            new = NewTopic(settings.changelog, num_partitions=partitions, config=_CHANGELOG)
            admin.create_topics([new])[settings.changelog].result(_ASK_BOUND_S)
    except KafkaException as failure:
        if failure.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return prepare_topics(settings)
        raise Transient(f"Kafka at {settings.bootstrap_servers} does not answer: {failure}") from failure
    return partitions


def _librdkafka(settings: PacingSettings) -> dict[str, Any]:
    found: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap_servers,
        "security.protocol": settings.security_protocol,
        "log_level": 0,
    }
    if settings.security_protocol.startswith("SASL"):
        found["sasl.mechanism"] = settings.sasl_mechanism
        found["sasl.username"] = settings.sasl_username
        found["sasl.password"] = settings.sasl_password
    if settings.ssl_ca_location:
        found["ssl.ca.location"] = settings.ssl_ca_location
    return found
