"""What the environment says: where Kafka and ClickHouse are, and the secrets to reach them. Never printed."""

from __future__ import annotations

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from schemas.errors import SettingsError
from streams.kafka.cluster import Cluster

_REMEDY = "; set it, or use `clickfold up` or `clickfold demo`, which bring their own"


class Environment(BaseSettings):
    """Variables by their usual names, upper case. Empty means not given."""

    kafka_bootstrap_servers: str = ""
    """Brokers, as `host:port` separated by commas."""
    kafka_security_protocol: str = ""
    """`PLAINTEXT` (when empty), `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`."""
    kafka_sasl_mechanism: str = ""
    """`PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`."""
    kafka_sasl_username: str = ""
    """User of Kafka."""
    kafka_sasl_password: SecretStr = SecretStr("")
    """Password of that user."""
    kafka_ssl_ca_location: str = ""
    """File of certificate authorities that vouch for the brokers."""
    kafka_ssl_certificate_location: str = ""
    """File of the client's certificate."""
    kafka_ssl_key_location: str = ""
    """File of the client's key."""
    kafka_ssl_key_password: SecretStr = SecretStr("")
    """Password of the client's key."""
    clickfold_topic_prefix: str = "ads."
    """Start of all topics' names, and of consumer groups and transactional ids."""
    clickhouse_url: str = ""
    """Address of ClickHouse over HTTP, such as `http://clickhouse:8123`."""
    clickhouse_user: str = ""
    """User of ClickHouse; when empty, the one in the address or `default`."""
    clickhouse_password: SecretStr = SecretStr("")
    """Password of that user."""
    clickhouse_database: str = "ads"
    """Database of all tables and views."""
    clickhouse_cluster: str = ""
    """ClickHouse cluster of one shard on whose replicas tables are made; inserts then wait for a quorum."""

    def cluster(self) -> Cluster:
        """The Kafka cluster. Raises SettingsError when none is named."""
        if not self.kafka_bootstrap_servers:
            raise SettingsError("KAFKA_BOOTSTRAP_SERVERS is empty" + _REMEDY)
        return Cluster(self.kafka_bootstrap_servers, self.security(), self.clickfold_topic_prefix)

    def security(self) -> dict[str, str]:
        """librdkafka's security settings, only those given."""
        given = {
            "security.protocol": self.kafka_security_protocol,
            "sasl.mechanism": self.kafka_sasl_mechanism,
            "sasl.username": self.kafka_sasl_username,
            "sasl.password": self.kafka_sasl_password.get_secret_value(),
            "ssl.ca.location": self.kafka_ssl_ca_location,
            "ssl.certificate.location": self.kafka_ssl_certificate_location,
            "ssl.key.location": self.kafka_ssl_key_location,
            "ssl.key.password": self.kafka_ssl_key_password.get_secret_value(),
        }
        return {name: value for name, value in given.items() if value}

    def clickhouse(self) -> str:
        """The URL of ClickHouse. Raises SettingsError when none is named."""
        if not self.clickhouse_url:
            raise SettingsError("CLICKHOUSE_URL is empty" + _REMEDY)
        return self.clickhouse_url
