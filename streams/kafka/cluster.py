"""A Kafka cluster as every part of clickfold is given it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Final

from schemas.errors import SettingsError
from schemas.topics import topic_name

# Environment variables that begin so are passed on to every client of Kafka.
PASSED_ON: Final = "KAFKA_CONFIG_"
# Codecs of Kafka's record batches.
CODECS: Final = ("none", "gzip", "snappy", "lz4", "zstd")
# Clients of every language read it without another package, see docs/operate/connect-your-tools.md.
DEFAULT_COMPRESSION: Final = "none"
_EXACT: Final = "is part of how clickfold stays exact"
# Settings of librdkafka that cannot be passed on, and why.
RESERVED: Final = {
    "bootstrap.servers": "is KAFKA_BOOTSTRAP_SERVERS",
    "metadata.broker.list": "is KAFKA_BOOTSTRAP_SERVERS",
    "security.protocol": "is KAFKA_SECURITY_PROTOCOL",
    "sasl.mechanism": "is KAFKA_SASL_MECHANISM",
    "sasl.mechanisms": "is KAFKA_SASL_MECHANISM",
    "sasl.username": "is KAFKA_SASL_USERNAME",
    "sasl.password": "is KAFKA_SASL_PASSWORD",
    "sasl.oauthbearer.method": "is `oidc` where KAFKA_SASL_MECHANISM is OAUTHBEARER",
    "sasl.oauthbearer.token.endpoint.url": "is KAFKA_OIDC_TOKEN_URL",
    "sasl.oauthbearer.client.id": "is KAFKA_OIDC_CLIENT_ID",
    "sasl.oauthbearer.client.secret": "is KAFKA_OIDC_CLIENT_SECRET",
    "sasl.oauthbearer.scope": "is KAFKA_OIDC_SCOPE",
    "ssl.ca.location": "is KAFKA_SSL_CA_LOCATION",
    "ssl.certificate.location": "is KAFKA_SSL_CERTIFICATE_LOCATION",
    "ssl.key.location": "is KAFKA_SSL_KEY_LOCATION",
    "ssl.key.password": "is KAFKA_SSL_KEY_PASSWORD",
    "group.id": "is --group and the topic prefix",
    "group.instance.id": "is --slot",
    **dict.fromkeys(
        (
            *("transactional.id", "transaction.timeout.ms", "enable.idempotence", "partitioner", "acks"),
            *("group.protocol", "partition.assignment.strategy", "isolation.level", "auto.offset.reset"),
            *("enable.auto.commit", "enable.auto.offset.store", "enable.partition.eof", "request.required.acks"),
            *("max.in.flight.requests.per.connection", "max.in.flight"),
            *("delivery.report.only.error", "session.timeout.ms", "heartbeat.interval.ms", "max.poll.interval.ms"),
        ),
        _EXACT,
    ),
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where Kafka is: bootstrap servers, librdkafka's security settings by their names, and the prefix of topic names.

    `inputs` are the names of topics of impressions and clicks that have another than the prefix gives.
    `passed` are further settings of librdkafka, by their names, that the user gives to every client. `compression` is
    the codec of what workers write. Raises SettingsError for a codec there is not, and for a passed setting that
    clickfold itself must set.

    `streams.kafka.settings` makes the settings of every client from it.
    """

    bootstrap: str
    _: KW_ONLY
    security: dict[str, str] = field(default_factory=dict, repr=False)
    passed: dict[str, str] = field(default_factory=dict, repr=False)
    prefix: str = "ads."
    compression: str = DEFAULT_COMPRESSION
    inputs: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.compression not in CODECS:
            raise SettingsError(f"CLICKFOLD_COMPRESSION is {self.compression!r}; give one of {', '.join(CODECS)}")
        if self.inputs and self.topic("impressions") == self.topic("clicks"):
            raise SettingsError(
                f"impressions and clicks are both topic {self.topic('clicks')}; the join reads two: `clickfold worker "
                "ingest` takes one topic apart"
            )
        for name in self.passed:
            if name in RESERVED:
                variable = f"{PASSED_ON}{name.upper().replace('.', '_')}"
                raise SettingsError(f"{variable} is set, but {name} {RESERVED[name]}; take it out")

    def topic(self, role: str) -> str:
        """The topic of a role."""
        return self.inputs.get(role) or topic_name(role, self.prefix)

    def group(self, worker: str) -> str:
        """The default consumer group of a worker.

        It holds the prefix, because transactional ids follow the group: workers of two prefixes on one cluster must
        not fence each other.
        """
        return f"{self.prefix}{worker}"
