"""The settings of aiokafka's clients, which Faust and the reader of record sets use: as librdkafka's clients have them.

aiokafka names and checks them in its own way, so each is translated here.
"""

from __future__ import annotations

import ssl
from typing import Any, Final

from schemas.errors import SettingsError
from streams.kafka.cluster import PASSED_ON, Cluster

_PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
# Settings of librdkafka that concern the context of TLS; `https.ca.location` is that of the token endpoint.
_VERIFIES: Final = "enable.ssl.certificate.verification"
_NAMES_HOST: Final = "ssl.endpoint.identification.algorithm"
_TOKEN_CA: Final = "https.ca.location"
# Settings of librdkafka that aiokafka has too, under these names.
_SAME: Final = {
    "client.id": "client_id",
    "metadata.max.age.ms": "metadata_max_age_ms",
    "connections.max.idle.ms": "connections_max_idle_ms",
}
_KNOWN: Final = tuple(
    sorted(f"{PASSED_ON}{name.upper().replace('.', '_')}" for name in (*_SAME, _VERIFIES, _NAMES_HOST, _TOKEN_CA))
)


def aiokafka_settings(cluster: Cluster) -> dict[str, Any]:
    """Address, security and what else the user passes on, as arguments of an aiokafka client.

    Raises SettingsError for a protocol, mechanism or setting that aiokafka does not have, and for a certificate or key
    that cannot be read.
    """
    servers = [server.strip() for server in cluster.bootstrap.split(",")]
    return {"bootstrap_servers": servers, **_security(cluster), **_passed(cluster)}


def _passed(cluster: Cluster) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, value in cluster.passed.items():
        variable = f"{PASSED_ON}{name.upper().replace('.', '_')}"
        if name in _SAME:
            if name.endswith(".ms") and not value.isdecimal():
                raise SettingsError(f"{variable} is {value!r}; give a whole number of milliseconds")
            settings[_SAME[name]] = int(value) if name.endswith(".ms") else value
        elif variable not in _KNOWN:
            raise SettingsError(
                f"{variable} is set, which the Kafka client of `clickfold worker pace` and of the fast reader does not "
                f"have; take it out of that worker's environment, where only {', '.join(_KNOWN)} can be given"
            )
    return settings


def _security(cluster: Cluster) -> dict[str, Any]:
    security = cluster.security
    protocol = security.get("security.protocol", "PLAINTEXT").upper()
    if protocol not in _PROTOCOLS:
        raise SettingsError(f"KAFKA_SECURITY_PROTOCOL is {protocol!r}; give {', '.join(_PROTOCOLS)}")
    settings: dict[str, Any] = {"security_protocol": protocol}
    if protocol in ("SSL", "SASL_SSL"):
        settings["ssl_context"] = _ssl_context(cluster)
    if not protocol.startswith("SASL"):
        return settings
    mechanism = security.get("sasl.mechanism", "PLAIN").upper()
    if mechanism not in _MECHANISMS:
        raise SettingsError(f"KAFKA_SASL_MECHANISM is {mechanism!r}; give {', '.join(_MECHANISMS)}")
    settings["sasl_mechanism"] = mechanism
    if mechanism != "OAUTHBEARER":
        settings["sasl_plain_username"] = security.get("sasl.username", "")
        settings["sasl_plain_password"] = security.get("sasl.password", "")
        return settings
    from streams.kafka.oidc import Tokens

    settings["sasl_oauth_token_provider"] = Tokens(
        url=security.get("sasl.oauthbearer.token.endpoint.url", ""),
        client_id=security.get("sasl.oauthbearer.client.id", ""),
        client_secret=security.get("sasl.oauthbearer.client.secret", ""),
        scope=security.get("sasl.oauthbearer.scope", ""),
        ca_location=cluster.passed.get(_TOKEN_CA, ""),
    )
    return settings


def _ssl_context(cluster: Cluster) -> ssl.SSLContext:
    """Trusts the CA given, or the system's, and shows the client certificate, if there is one."""
    security = cluster.security
    try:
        context = ssl.create_default_context(cafile=security.get("ssl.ca.location"))
    except OSError as failure:
        raise SettingsError(f"KAFKA_SSL_CA_LOCATION cannot be read: {failure}") from failure
    # Python 3.13 refuses certificates that lack an extension; librdkafka takes them.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if cluster.passed.get(_NAMES_HOST, "https").lower() == "none":
        context.check_hostname = False
    if cluster.passed.get(_VERIFIES, "true").lower() == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate = security.get("ssl.certificate.location")
    if certificate is not None:
        password = security.get("ssl.key.password", "")
        try:
            # Given as a function, so that OpenSSL never asks a terminal for a password that is not set.
            context.load_cert_chain(certificate, security.get("ssl.key.location"), lambda: password)
        except OSError as failure:
            raise SettingsError(
                f"KAFKA_SSL_CERTIFICATE_LOCATION or KAFKA_SSL_KEY_LOCATION cannot be read: {failure}"
            ) from failure
    return context
