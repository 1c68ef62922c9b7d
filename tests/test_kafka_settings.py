"""Settings of Kafka clients are made in one place, carry all of security, and are silent about secrets."""

from __future__ import annotations

import ast
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from schemas.errors import SettingsError
from streams.cli.commands import worker
from streams.kafka.cluster import Cluster
from streams.kafka.faust_settings import faust_settings
from streams.kafka.settings import client_settings, letter_producer_settings, transactional_producer_settings
from streams.worker.environment import Environment
from tests.certificates import write_certificate
from tests.sources import NOT_OURS

STREAMS = Path(__file__).parent.parent / "streams"
CLIENTS = {"Consumer", "Producer", "AdminClient"}
SECRET = "not to be printed"


def credentials(**security: str) -> Any:
    """What Faust is given for these settings, `_` for `.`."""
    named = {name.replace("_", "."): value for name, value in security.items()}
    return faust_settings(Cluster("one:9092", security=named))["broker_credentials"]


def imported_from(tree: ast.Module, package: str) -> set[str]:
    """Names a module takes from a package or from modules below it."""
    return {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").split(".")[: package.count(".") + 1] == package.split(".")
        for alias in node.names
    }


def test_every_client_is_made_with_settings_of_the_one_module() -> None:
    made, own = 0, []
    for path in sorted(STREAMS.rglob("*.py")):
        tree = ast.parse(path.read_text())
        clients = imported_from(tree, "confluent_kafka") & CLIENTS
        raw = imported_from(tree, "streams.kafka.librdkafka") & {"RawConsumer"}
        from_there = imported_from(tree, "streams.kafka.settings")
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in clients | raw:
                made += 1
                # A raw client is given librdkafka's functions before its settings.
                given = node.args[1:] if node.func.id in raw else node.args
                first = given[0] if len(given) == 1 else None
                called = first.func.id if isinstance(first, ast.Call) and isinstance(first.func, ast.Name) else ""
                callbacks = all((keyword.arg or "").startswith("on_") for keyword in node.keywords)
                if called not in from_there or called == "client_settings" or not callbacks:
                    own.append(f"{path.relative_to(STREAMS.parent)}:{node.lineno}")
    assert own == [], "make their settings in streams/kafka/settings.py, by a function named for the purpose"
    assert made >= 10, "clients are made in a way this test does not see"


def test_no_module_but_the_one_imports_the_clients_by_another_way() -> None:
    for path in sorted(STREAMS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
                assert not any(name.partition(".")[0] == "confluent_kafka" for name in names), f"{path}: {names}"
            if isinstance(node, ast.ImportFrom):
                renamed = [alias.name for alias in node.names if alias.name in CLIENTS and alias.asname]
                assert renamed == [], f"{path} renames {renamed}"


def test_no_client_of_a_test_writes_lines_of_its_own_into_the_output() -> None:
    """librdkafka logs to stderr past Python; `client_settings` silences it."""
    loud = [
        f"{path.name}:{node.lineno}"
        for path in sorted(Path(__file__).parent.rglob("*.py"))
        if path.parent != NOT_OURS
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Dict)
        for keys in [{key.value for key in node.keys if isinstance(key, ast.Constant)}]
        if "bootstrap.servers" in keys and "log_level" not in keys and path != Path(__file__)
    ]
    assert loud == []


def test_what_the_environment_says_reaches_librdkafka_and_faust(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "KAFKA_BOOTSTRAP_SERVERS": "one:9092, two:9092",
        "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "KAFKA_SASL_USERNAME": "pace",
        "KAFKA_SASL_PASSWORD": SECRET,
        "CLICKFOLD_TOPIC_PREFIX": "x.",
    }.items():
        monkeypatch.setenv(name, value)
    cluster = Environment().cluster()
    assert cluster.topic("campaign_totals") == "x.campaign_totals"
    assert SECRET not in repr(cluster)
    assert (
        client_settings(cluster, group_id="a").items()
        >= {
            "bootstrap.servers": "one:9092, two:9092",
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": "pace",
            "sasl.password": SECRET,
            "group.id": "a",
        }.items()
    )
    faust = faust_settings(cluster)
    assert faust["broker"] == "kafka://one:9092;kafka://two:9092"
    sasl = faust["broker_credentials"]
    assert (sasl.username, sasl.password, sasl.mechanism.value) == ("pace", SECRET, "SCRAM-SHA-512")
    assert sasl.protocol.value == "SASL_PLAINTEXT"
    assert SECRET not in repr(sasl)


def test_plaintext_needs_no_credentials_and_ssl_makes_a_context() -> None:
    assert credentials() is None
    assert credentials(security_protocol="SSL").context is not None
    assert credentials(security_protocol="SASL_SSL").protocol.value == "SASL_SSL"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"security_protocol": "TLS"}, "KAFKA_SECURITY_PROTOCOL"),
        ({"security_protocol": "SASL_SSL", "sasl_mechanism": "GSSAPI"}, "KAFKA_SASL_MECHANISM"),
        ({"security_protocol": "SSL", "ssl_ca_location": "/no/such/file"}, "KAFKA_SSL_CA_LOCATION"),
        ({"security_protocol": "SSL", "ssl_certificate_location": "/no/such/file"}, "KAFKA_SSL_CERTIFICATE_LOCATION"),
    ],
)
def test_security_that_faust_cannot_have_is_refused_by_name(wrong: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        credentials(**wrong)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate, its own authority, and its encrypted key, for `broker` and `pace`."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("broker", "pace"):
        write_certificate(folder, name, password=SECRET)
    return folder


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> dict[str, Any]:
    """The client certificate that a server sees, over buffers in memory. Raises what either side refuses."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="broker")
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    unfinished = [ours, theirs]
    for _ in range(10):
        for side in list(unfinished):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            unfinished.remove(side)
    assert unfinished == []
    return dict(theirs.getpeercert() or {})


def test_a_broker_that_wants_a_client_certificate_is_shown_it_by_faust(certificates: Path) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "pace.pem"))
    server.load_cert_chain(certificates / "broker.pem", certificates / "broker.key", SECRET)
    server.verify_mode = ssl.CERT_REQUIRED
    trusting = {"security_protocol": "SSL", "ssl_ca_location": str(certificates / "broker.pem")}
    ours = {
        "ssl_certificate_location": str(certificates / "pace.pem"),
        "ssl_key_location": str(certificates / "pace.key"),
        "ssl_key_password": SECRET,
    }
    shown = shake_hands(credentials(**trusting, **ours).context, server)
    assert shown["subject"] == ((("commonName", "pace"),),)
    with pytest.raises(ssl.SSLError):
        shake_hands(credentials(**trusting).context, server)
    with pytest.raises(SettingsError, match="KAFKA_SSL_KEY_LOCATION"):
        credentials(**trusting, **{**ours, "ssl_key_password": "wrong"})


def passed_on(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Cluster:
    """The cluster of an environment with these variables of KAFKA_CONFIG_…."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "one:9092")
    for name, value in variables.items():
        monkeypatch.setenv(f"KAFKA_CONFIG_{name}", value)
    return Environment().cluster()


def test_other_settings_of_librdkafka_are_passed_on_and_win_over_our_tuning(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = passed_on(monkeypatch, CLIENT_RACK="eu-1", LINGER_MS="5", LOG_LEVEL="3")
    settings = client_settings(cluster, linger_ms=20)
    assert settings.items() >= {"client.rack": "eu-1", "linger.ms": "5", "log_level": "3"}.items()


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("ISOLATION_LEVEL", "isolation.level is part of how clickfold stays exact"),
        ("PARTITIONER", "partitioner is part of how clickfold stays exact"),
        ("SASL_PASSWORD", "sasl.password is KAFKA_SASL_PASSWORD"),
        ("GROUP_ID", "group.id is --group"),
    ],
)
def test_a_setting_that_clickfold_itself_must_set_is_refused_by_name(
    name: str, instead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match=rf"KAFKA_CONFIG_{name} is set, but {instead}.*; take it out") as refused:
        passed_on(monkeypatch, **{name: SECRET})
    assert SECRET not in str(refused.value)


def test_pacing_takes_what_its_client_has_and_names_what_it_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = passed_on(monkeypatch, CLIENT_ID="pace-1", METADATA_MAX_AGE_MS="9000")
    taken = faust_settings(cluster)
    assert (taken["broker_client_id"], taken["consumer_metadata_max_age_ms"]) == ("pace-1", 9_000)
    assert taken["producer_metadata_max_age_ms"] == 9_000
    with pytest.raises(SettingsError, match=r"KAFKA_CONFIG_CLIENT_RACK is set, which the Kafka client of .*take it"):
        faust_settings(passed_on(monkeypatch, CLIENT_RACK="eu-1"))


def test_a_broker_whose_name_is_not_to_be_verified_is_not_by_faust_either(certificates: Path) -> None:
    cluster = Cluster(
        "one:9092",
        security={"security.protocol": "SSL", "ssl.ca.location": str(certificates / "broker.pem")},
        passed={"ssl.endpoint.identification.algorithm": "none"},
    )
    context = faust_settings(cluster)["broker_credentials"].context
    assert (context.check_hostname, context.verify_mode) == (False, ssl.CERT_REQUIRED)


def test_openid_connect_needs_its_endpoint_and_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "one:9092")
    monkeypatch.setenv("KAFKA_SASL_MECHANISM", "OAUTHBEARER")
    with pytest.raises(SettingsError, match="give KAFKA_OIDC_TOKEN_URL, KAFKA_OIDC_CLIENT_ID"):
        Environment().cluster()


WRITING = (
    lambda cluster: transactional_producer_settings(cluster, "ads.join-0")["compression.type"],
    lambda cluster: letter_producer_settings(cluster)["compression.type"],
    lambda cluster: faust_settings(cluster)["producer_compression_type"] or "none",
)


@pytest.mark.parametrize("codec_of", WRITING, ids=["transactions", "dead letters", "pacing"])
def test_all_that_workers_write_has_the_codec_that_is_set_and_none_by_default(
    codec_of: Callable[[Cluster], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "one:9092")
    assert codec_of(Environment().cluster()) == "none"
    monkeypatch.setenv("CLICKFOLD_COMPRESSION", "zstd")
    assert codec_of(Environment().cluster()) == "zstd"
    assert codec_of(Environment().cluster(compression="lz4")) == "lz4"


def test_a_codec_that_kafka_does_not_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "one:9092")
    monkeypatch.setenv("CLICKFOLD_COMPRESSION", "brotli")
    with pytest.raises(SettingsError, match=r"CLICKFOLD_COMPRESSION is 'brotli'; give one of none, gzip, .*zstd"):
        Environment().cluster()


def test_every_worker_that_writes_to_kafka_has_the_option() -> None:
    commands: Any = typer.main.get_command(worker.app)
    for name, command in commands.commands.items():
        assert "--compression" in {option for each in command.params for option in each.opts}, name
