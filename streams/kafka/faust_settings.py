"""The settings of Faust's client, aiokafka: the same address and security as librdkafka's clients have.

aiokafka names and checks them in its own way, so each is translated here; what it does not have stops the worker.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Final

from schemas.errors import SettingsError
from streams.kafka.cluster import PASSED_ON, Cluster

_PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
# Settings of librdkafka that concern the context of TLS; `https.ca.location` is that of the token endpoint.
_VERIFIES: Final = "enable.ssl.certificate.verification"
_NAMES_HOST: Final = "ssl.endpoint.identification.algorithm"
TOKEN_CA: Final = "https.ca.location"
# Settings of librdkafka that Faust has too, under these names.
_SAME: Final = {
    "client.id": ("broker_client_id",),
    "metadata.max.age.ms": ("consumer_metadata_max_age_ms", "producer_metadata_max_age_ms"),
    "connections.max.idle.ms": ("consumer_connections_max_idle_ms", "producer_connections_max_idle_ms"),
}


def faust_settings(cluster: Cluster, *, client_id: str = "") -> dict[str, Any]:
    """Address, credentials and what else the user passes on, as settings of a Faust app; the user's client id wins.

    Raises SettingsError for a protocol, mechanism or setting that aiokafka does not have, and for a certificate or key
    that cannot be read.
    """
    servers = ";".join(f"kafka://{server.strip()}" for server in cluster.bootstrap.split(","))
    named = {"broker_client_id": client_id} if client_id else {}
    return {"broker": servers, "broker_credentials": _credentials(cluster), **named, **_passed(cluster.passed)}


def _passed(passed: Mapping[str, str]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, value in passed.items():
        if name in _SAME:
            for own in _SAME[name]:
                settings[own] = _whole(name, value) if name.endswith(".ms") else value
        elif name not in (_VERIFIES, _NAMES_HOST, TOKEN_CA):
            known = ", ".join(sorted(map(_variable, (*_SAME, _VERIFIES, _NAMES_HOST, TOKEN_CA))))
            raise SettingsError(
                f"{_variable(name)} is set, which the Kafka client of `clickfold worker pace` does not have; take it "
                f"out of that worker's environment, where only {known} can be given"
            )
    return settings


def _whole(name: str, value: str) -> int:
    if not value.isdecimal():
        raise SettingsError(f"{_variable(name)} is {value!r}; give a whole number of milliseconds")
    return int(value)


def _variable(name: str) -> str:
    return f"{PASSED_ON}{name.upper().replace('.', '_')}"


def _credentials(cluster: Cluster) -> Any:
    """None for PLAINTEXT."""
    import faust  # takes a second; only the pacing worker needs it

    security = cluster.security
    protocol = security.get("security.protocol", "PLAINTEXT").upper()
    if protocol not in _PROTOCOLS:
        raise SettingsError(f"KAFKA_SECURITY_PROTOCOL is {protocol!r}; give {', '.join(_PROTOCOLS)}")
    if protocol == "PLAINTEXT":
        return None
    context = _ssl_context(cluster) if protocol in ("SSL", "SASL_SSL") else None
    if protocol == "SSL":
        return faust.SSLCredentials(context)
    mechanism = security.get("sasl.mechanism", "PLAIN").upper()
    if mechanism not in _MECHANISMS:
        raise SettingsError(f"KAFKA_SASL_MECHANISM is {mechanism!r}; give {', '.join(_MECHANISMS)}")
    if mechanism == "OAUTHBEARER":
        from faust.auth import OAuthCredentials  # the package does not export it

        from streams.kafka.oidc import Tokens

        tokens = Tokens(
            url=security.get("sasl.oauthbearer.token.endpoint.url", ""),
            client_id=security.get("sasl.oauthbearer.client.id", ""),
            client_secret=security.get("sasl.oauthbearer.client.secret", ""),
            scope=security.get("sasl.oauthbearer.scope", ""),
            ca_location=cluster.passed.get(TOKEN_CA, ""),
        )
        return OAuthCredentials(oauth_cb=tokens, ssl_context=context)
    return faust.SASLCredentials(
        username=security.get("sasl.username", ""),
        password=security.get("sasl.password", ""),
        ssl_context=context,
        mechanism=mechanism,
    )


def _ssl_context(cluster: Cluster) -> ssl.SSLContext:
    """Trusts the CA given, or the system's, and shows the client certificate, if there is one."""
    security = cluster.security
    try:
        context = ssl.create_default_context(cafile=security.get("ssl.ca.location"))
    except OSError as failure:
        raise SettingsError(f"KAFKA_SSL_CA_LOCATION cannot be read: {failure}") from failure
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
