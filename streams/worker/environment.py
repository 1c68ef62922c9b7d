"""The environment: where Kafka and ClickHouse are, and the secrets to reach them, which are never printed.

Configuration has one rule. This module alone reads the environment, and `streams.cli` the options of the command line.
All else is given frozen, keyword-only values, which raise SettingsError when they cannot work. The embedded servers, as
programs of their own, read a few variables themselves.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from schemas.errors import SettingsError
from streams.kafka.cluster import DEFAULT_COMPRESSION, PASSED_ON, Cluster

if TYPE_CHECKING:
    from streams.ingest.registry import RegistrySettings
    from streams.warehouse.client import Warehouse

_REMEDY = "; set it, or use `clickfold up` or `clickfold demo`, which bring their own"


class Environment(BaseSettings):
    """Variables by their usual names, upper case. Empty means not given; an empty topic prefix means none."""

    kafka_bootstrap_servers: str = ""
    """Brokers, as `host:port` separated by commas."""
    kafka_security_protocol: str = ""
    """`PLAINTEXT` (when empty), `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`."""
    kafka_sasl_mechanism: str = ""
    """`PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`, or `OAUTHBEARER` with the `KAFKA_OIDC_…` variables."""
    kafka_sasl_username: str = ""
    """User of Kafka."""
    kafka_sasl_password: SecretStr = SecretStr("")
    """Password of that user."""
    kafka_oidc_token_url: str = ""
    """Token endpoint of the OpenID Connect provider, for `OAUTHBEARER`."""
    kafka_oidc_client_id: str = ""
    """Client id at that provider."""
    kafka_oidc_client_secret: SecretStr = SecretStr("")
    """Secret of that client."""
    kafka_oidc_scope: str = ""
    """Scope to ask for, if the provider wants one."""
    kafka_ssl_ca_location: str = ""
    """File of certificate authorities that vouch for the brokers."""
    kafka_ssl_certificate_location: str = ""
    """File of the client's certificate."""
    kafka_ssl_key_location: str = ""
    """File of the client's key."""
    kafka_ssl_key_password: SecretStr = SecretStr("")
    """Password of the client's key."""
    schema_registry_url: str = ""
    """Schema registry with Confluent's interface, for values of `ingest` in Avro, Protobuf or JSON Schema."""
    schema_registry_user: str = ""
    """User of the registry, or key of an API."""
    schema_registry_password: SecretStr = SecretStr("")
    """Password of that user."""
    schema_registry_token: SecretStr = SecretStr("")
    """Bearer token, in place of user and password."""
    schema_registry_ca_location: str = ""
    """File of certificate authorities that vouch for a registry with an `https://` address."""
    schema_registry_certificate_location: str = ""
    """File of the client's certificate for the registry."""
    schema_registry_key_location: str = ""
    """File of that certificate's key."""
    clickfold_topic_prefix: str = "ads."
    """Start of all topics' names, and of consumer groups and transactional ids."""
    clickfold_impressions_topic: str = ""
    """Topic of impressions, where it has another name than the prefix gives; see `worker join --input-map`."""
    clickfold_clicks_topic: str = ""
    """Topic of clicks, in the same way."""
    clickfold_compression: str = ""
    """Codec of all that workers and commands write to Kafka: `none` (when empty), `gzip`, `snappy`, `lz4` or `zstd`."""
    clickfold_data_dir: str = ""
    """Folder of the embedded system, for commands without `--data-dir`; `.clickfold/data` when empty."""
    clickfold_campaigns_token: SecretStr = SecretStr("")
    """What clients of `clickfold serve` must send to read and change campaigns, 16 characters or more; when empty, they
    are refused."""
    clickhouse_url: str = ""
    """Address of ClickHouse over HTTP, such as `http://clickhouse:8123`."""
    clickhouse_user: str = ""
    """User of ClickHouse; when empty, the one in the address or `default`."""
    clickhouse_password: SecretStr = SecretStr("")
    """Password of that user. Without `CLICKHOUSE_URL`, the one that `clickfold up` gives its ClickHouse and keeps."""
    clickhouse_ca_location: str = ""
    """File of certificate authorities that vouch for a ClickHouse with an `https://` address."""
    clickhouse_database: str = "ads"
    """Database of all tables and views."""
    clickhouse_cluster: str = ""
    """ClickHouse cluster of one shard on whose replicas tables are made; inserts then wait for a quorum."""

    def cluster(self, *, prefix: str | None = None, compression: str | None = None) -> Cluster:
        """The Kafka cluster, with a `prefix` and `compression` other than the environment's if given.

        Raises SettingsError when none is named, or a variable for it cannot be.
        """
        if not self.kafka_bootstrap_servers:
            raise SettingsError("KAFKA_BOOTSTRAP_SERVERS is empty" + _REMEDY)
        prefix = self.clickfold_topic_prefix if prefix is None else prefix
        own_names = {"impressions": self.clickfold_impressions_topic, "clicks": self.clickfold_clicks_topic}
        return Cluster(
            self.kafka_bootstrap_servers,
            security=self._security(),
            passed=_passed_on(),
            prefix=prefix,
            inputs={role: name for role, name in own_names.items() if name},
            compression=str(compression or self.clickfold_compression or DEFAULT_COMPRESSION),
        )

    def _security(self) -> dict[str, str]:
        """librdkafka's security settings, only those given."""
        oauth = self.kafka_sasl_mechanism.upper() == "OAUTHBEARER"
        if oauth and not (self.kafka_oidc_token_url and self.kafka_oidc_client_id):
            raise SettingsError(
                "KAFKA_SASL_MECHANISM is 'OAUTHBEARER'; give KAFKA_OIDC_TOKEN_URL, KAFKA_OIDC_CLIENT_ID and "
                "KAFKA_OIDC_CLIENT_SECRET with it"
            )
        settings = {
            "sasl.oauthbearer.method": "oidc" if oauth else "",
            "sasl.oauthbearer.token.endpoint.url": self.kafka_oidc_token_url if oauth else "",
            "sasl.oauthbearer.client.id": self.kafka_oidc_client_id if oauth else "",
            "sasl.oauthbearer.client.secret": self.kafka_oidc_client_secret.get_secret_value() if oauth else "",
            "sasl.oauthbearer.scope": self.kafka_oidc_scope if oauth else "",
            "security.protocol": self.kafka_security_protocol,
            "sasl.mechanism": self.kafka_sasl_mechanism,
            "sasl.username": self.kafka_sasl_username,
            "sasl.password": self.kafka_sasl_password.get_secret_value(),
            "ssl.ca.location": self.kafka_ssl_ca_location,
            "ssl.certificate.location": self.kafka_ssl_certificate_location,
            "ssl.key.location": self.kafka_ssl_key_location,
            "ssl.key.password": self.kafka_ssl_key_password.get_secret_value(),
        }
        return {name: value for name, value in settings.items() if value}

    def registry(self) -> RegistrySettings | None:
        """The schema registry; None when none is named."""
        from streams.ingest.registry import RegistrySettings

        if not self.schema_registry_url:
            return None
        return RegistrySettings(
            self.schema_registry_url,
            user=self.schema_registry_user,
            password=self.schema_registry_password.get_secret_value(),
            token=self.schema_registry_token.get_secret_value(),
            ca_location=self.schema_registry_ca_location,
            certificate_location=self.schema_registry_certificate_location,
            key_location=self.schema_registry_key_location,
        )

    def warehouse(self) -> Warehouse:
        """ClickHouse. Raises SettingsError when none is named."""
        from streams.warehouse.client import Warehouse  # clickhouse-connect takes 0.3 s to import

        if not self.clickhouse_url:
            raise SettingsError("CLICKHOUSE_URL is empty" + _REMEDY)
        return Warehouse(
            self.clickhouse_url,
            self.clickhouse_database,
            user=self.clickhouse_user,
            password=self.clickhouse_password.get_secret_value(),
            cluster=self.clickhouse_cluster,
            ca_location=self.clickhouse_ca_location,
        )


def variable(name: str) -> str:
    """The value of a variable that a mapping names; empty when it is not set."""
    return os.environ.get(name, "")


def _passed_on() -> dict[str, str]:
    """librdkafka's settings that are given as KAFKA_CONFIG_<NAME>, with `_` for `.`."""
    named = {
        name.upper().removeprefix(PASSED_ON).lower().replace("_", "."): value
        for name, value in os.environ.items()
        if name.upper().startswith(PASSED_ON) and value
    }
    # The one name of librdkafka that has an underscore and is of use.
    return {"log_level" if name == "log.level" else name: value for name, value in named.items()}
