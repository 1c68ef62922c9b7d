"""A Kafka that wants certificates, passwords or tokens: every kind of client gets in, and who may not is told so."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not in its __all__
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from schemas.errors import SettingsError, Transient
from streams.embedded.broker import Broker
from streams.embedded.ports import free_port
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.consumer import Reading
from streams.kafka.reader import open_reader
from streams.kafka.record_set_reader import RecordSetReader
from streams.kafka.settings import client_settings
from streams.warehouse.client import Warehouse
from streams.worker.environment import Environment
from tests.certificates import write_certificate
from tests.integration.test_settings_errors import environment, running
from tests.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.broker

LOGIN = "org.apache.kafka.common.security"


class Secured(NamedTuple):
    """Addresses of one broker, by what each wants of a client, and a folder of certificates."""

    certificate: str
    password: str
    open: str
    folder: Path


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    for name in ("broker", "client", "stranger"):
        write_certificate(folder, name)
    (folder / "keystore.pem").write_text((folder / "broker.key").read_text() + (folder / "broker.pem").read_text())
    tls, sasl = free_port(), free_port()
    listener = "listener.name.sasl_plaintext"
    settings = {
        "listeners": f"SSL://127.0.0.1:{tls},SASL_PLAINTEXT://127.0.0.1:{sasl}",
        "advertised.listeners": f"SSL://127.0.0.1:{tls},SASL_PLAINTEXT://127.0.0.1:{sasl}",
        "listener.security.protocol.map": ",".join(
            ("CONTROLLER:PLAINTEXT", "PLAINTEXT:PLAINTEXT", "SSL:SSL", "SASL_PLAINTEXT:SASL_PLAINTEXT")
        ),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "keystore.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(folder / "client.pem"),
        "ssl.client.auth": "required",
        "sasl.enabled.mechanisms": "PLAIN,OAUTHBEARER,SCRAM-SHA-256,SCRAM-SHA-512",
        # A topic without a rule is open to everybody.
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true",
        "super.users": "User:ANONYMOUS",
        f"{listener}.plain.sasl.jaas.config": f'{LOGIN}.plain.PlainLoginModule required user_ads="right";',
        f"{listener}.scram-sha-256.sasl.jaas.config": f"{LOGIN}.scram.ScramLoginModule required;",
        f"{listener}.scram-sha-512.sasl.jaas.config": f"{LOGIN}.scram.ScramLoginModule required;",
        # Kafka's validator for tests: it takes unsigned tokens.
        f"{listener}.oauthbearer.sasl.jaas.config": (
            f'{LOGIN}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
        ),
    }
    with Broker(tmp_path_factory.mktemp("kafka"), more=settings) as broker:
        Admin(Cluster(broker.bootstrap)).create(partitions=1)
        yield Secured(f"127.0.0.1:{tls}", f"127.0.0.1:{sasl}", broker.bootstrap, folder)


class Provider(BaseHTTPRequestHandler):
    """An OpenID Connect token endpoint that gives unsigned tokens to whoever knows the secret."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        known = self.headers["Authorization"] == "Basic " + base64.b64encode(b"ads:right").decode()
        now_s = int(time.time())
        claims = {"sub": "ads", "iat": now_s, "exp": now_s + 300}
        parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in ({"alg": "none"}, claims)]
        token = ".".join(part.rstrip("=") for part in parts) + "."
        body = json.dumps({"access_token": token, "expires_in": 300} if known else {"error": "invalid_client"}).encode()
        self.send_response(200 if known else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/token"
        server.shutdown()


def by_certificate(secured: Secured, *, name: str = "client", authority: str = "broker") -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": secured.certificate,
        "KAFKA_SECURITY_PROTOCOL": "SSL",
        "KAFKA_SSL_CA_LOCATION": str(secured.folder / f"{authority}.pem"),
        "KAFKA_SSL_CERTIFICATE_LOCATION": str(secured.folder / f"{name}.pem"),
        "KAFKA_SSL_KEY_LOCATION": str(secured.folder / f"{name}.key"),
    }


def by_password(secured: Secured, password: str = "right") -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": secured.password,
        "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_SASL_USERNAME": "ads",
        "KAFKA_SASL_PASSWORD": password,
    }


def by_token(secured: Secured, provider: str, secret: str = "right") -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": secured.password,
        "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA_SASL_MECHANISM": "OAUTHBEARER",
        "KAFKA_OIDC_TOKEN_URL": provider,
        "KAFKA_OIDC_CLIENT_ID": "ads",
        "KAFKA_OIDC_CLIENT_SECRET": secret,
    }


def by_challenge(secured: Secured, mechanism: str, password: str = "right") -> dict[str, str]:
    return {**by_password(secured, password), "KAFKA_SASL_MECHANISM": mechanism}


def admin(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> Admin:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Admin(Environment().cluster())


@pytest.mark.parametrize("worker", ["join", "pace"])
@pytest.mark.parametrize("way", ["certificate", "password", "token"])
def test_workers_of_both_kinds_of_client_get_in(
    secured: Secured, provider: str, worker: str, way: str, tmp_path: Path
) -> None:
    variables = {
        "certificate": by_certificate(secured),
        "password": by_password(secured),
        "token": by_token(secured, provider),
    }[way]
    arguments = ["--web-port", str(free_port())] if worker == "pace" else []
    with running(environment(Cluster(""), tmp_path, **variables), worker, *arguments) as (process, _):
        process.process.terminate()
        code, _, err = process.ended()
    assert code == 0, err


def read_all(cluster: Cluster, topic: str, count: int) -> list[bytes | None]:
    """The values of a topic's one partition, by the reader that workers prefer."""
    place = TopicPartition(topic, 0, 0)
    with closing(open_reader(cluster, Reading({topic: "impressions"}, taken="", remedy=""))) as reader:
        assert isinstance(reader, RecordSetReader)
        reader.place([place])
        reader.resume([place])
        values = list[bytes | None]()

        def read() -> int:
            for records in reader.read(100, 0.1):
                values.extend(records.values)
            return len(values)

        eventually(read, equals=count)
    return values


@pytest.mark.parametrize("way", ["certificate", "password", "token", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_record_sets_are_fetched_whatever_kafka_wants_of_a_client(
    secured: Secured, provider: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "certificate": by_certificate(secured),
        "password": by_password(secured),
        "token": by_token(secured, provider),
    }.get(way, by_challenge(secured, way)).items():
        monkeypatch.setenv(name, value)
    cluster, topic = Environment().cluster(), f"read.{way}"
    maker = Admin(Cluster(secured.open))
    maker.create_topic(topic, partitions=1, config={})
    if way.startswith("SCRAM"):
        mechanism = {"SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256, "SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512}[way]
        wanted = UserScramCredentialUpsertion("ads", ScramCredentialInfo(mechanism, 4_096), b"right")
        client = AdminClient(client_settings(Cluster(secured.open)))
        for future in client.alter_user_scram_credentials([wanted]).values():
            future.result(PATIENCE_S)
    expected = [b"%d" % number * 100 for number in range(2_000)]
    producer = Producer(client_settings(Cluster(secured.open), compression_type="lz4"))
    for each in expected:
        producer.produce(topic, each)
    assert producer.flush(PATIENCE_S) == 0
    assert read_all(cluster, topic, 2_000) == expected


@pytest.mark.parametrize("way", ["certificate", "password", "token"])
def test_a_reader_that_may_not_connect_leaves_reading_to_librdkafka_and_says_why(
    secured: Secured, provider: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RecordSetReader, "refused", "")
    monkeypatch.setattr("streams.kafka.record_set_reader._NEVER_HEARD_S", 1.0)
    wrong = {
        "certificate": by_certificate(secured, authority="stranger"),
        "password": by_password(secured, "wrong"),
        "token": by_token(secured, provider, "wrong"),
    }[way]
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Transient, match=r"no broker has answered a fetch in 1 s .*: librdkafka reads from now on"):
        read_all(Environment().cluster(), "ads.clicks", 1)


def hide_settings(secured: Secured, prefix: str) -> None:
    """Topics of this prefix, for whose user Kafka does not describe them."""
    cluster = Cluster(secured.open, prefix=prefix)
    Admin(cluster).create(partitions=1)
    rules = [
        AclBinding(ResourceType.TOPIC, prefix, ResourcePatternType.PREFIXED, "User:ads", "*", operation, permission)
        for operation, permission in (
            (AclOperation.ALL, AclPermissionType.ALLOW),
            (AclOperation.DESCRIBE_CONFIGS, AclPermissionType.DENY),
        )
    ]
    client = AdminClient(client_settings(cluster))
    for made in client.create_acls(rules).values():
        made.result(timeout=PATIENCE_S)


def test_a_join_that_may_not_see_the_settings_of_its_inputs_works_and_warns_once(
    secured: Secured, tmp_path: Path
) -> None:
    """Then it is not known who sets the times of records: far ahead ones wait, and silent inputs are not closed."""
    hide_settings(secured, "hidden.")
    variables = by_password(secured)
    cluster = Cluster(variables["KAFKA_BOOTSTRAP_SERVERS"], prefix="hidden.")
    with running(environment(cluster, tmp_path, **variables), "join") as (worker, _):
        worker.process.terminate()
        code, _, err = worker.ended()
    assert code == 0, err
    warnings = [line for line in err.splitlines() if "Kafka does not show this user the settings of" in line]
    assert len(warnings) == 1, err
    assert all(cluster.topic(role) in warnings[0] for role in ("impressions", "clicks"))
    assert "allow DescribeConfigs" in warnings[0]


def test_a_wrong_password_is_not_taken_for_a_broker_that_is_away(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match=r"a Kafka broker answers at .*authentication failed .*KAFKA_SASL_MECH"):
        admin(monkeypatch, by_password(secured, "wrong")).partition_counts()


def test_a_provider_that_gives_no_token_is_told(
    secured: Secured, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match=r"authentication failed .*KAFKA_OIDC"):
        admin(monkeypatch, by_token(secured, provider, "wrong")).partition_counts()


def test_a_certificate_that_no_authority_vouches_for_is_told(secured: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"TLS fails .*KAFKA_SSL_CA_LOCATION"):
        admin(monkeypatch, by_certificate(secured, authority="stranger")).partition_counts()
    with pytest.raises(SettingsError, match=r"TLS fails .*KAFKA_SSL_CERTIFICATE_LOCATION"):
        admin(monkeypatch, by_certificate(secured, name="stranger")).partition_counts()


def test_clickhouse_is_reached_over_tls_with_an_authority_of_its_own(tmp_path: Path) -> None:
    class Front(BaseHTTPRequestHandler):
        """What stands before ClickHouse: here only its TLS matters."""

        def do_POST(self) -> None:
            self.send_error(403, "reached")

        def log_message(self, *_: object) -> None:
            """Nothing."""

    write_certificate(tmp_path, "clickhouse")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "clickhouse.pem", tmp_path / "clickhouse.key")
    with ThreadingHTTPServer(("127.0.0.1", 0), Front) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"https://127.0.0.1:{server.server_address[1]}"
        with pytest.raises(ClickHouseError, match="403"):
            Warehouse(url, ca_location=str(tmp_path / "clickhouse.pem")).connect()
        with pytest.raises(ClickHouseError, match="certificate verify failed"):
            Warehouse(url).connect()
        server.shutdown()
    with pytest.raises(SettingsError, match=r"CLICKHOUSE_CA_LOCATION=/no/such/file cannot be read"):
        Warehouse(url, ca_location="/no/such/file").connect()
