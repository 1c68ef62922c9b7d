"""The settings of Faust: the same address and security as other clients have, given to its own client, aiokafka."""

from __future__ import annotations

from typing import Any, Final

from streams.kafka.aiokafka_settings import aiokafka_settings
from streams.kafka.cluster import Cluster

# Settings of aiokafka's clients that Faust has too, under these names.
_SAME: Final = {
    "client_id": ("broker_client_id",),
    "metadata_max_age_ms": ("consumer_metadata_max_age_ms", "producer_metadata_max_age_ms"),
    "connections_max_idle_ms": ("consumer_connections_max_idle_ms", "producer_connections_max_idle_ms"),
}


def faust_settings(cluster: Cluster, *, client_id: str = "") -> dict[str, Any]:
    """Address, credentials and what else the user passes on, as settings of a Faust app; the user's client id wins.

    Raises SettingsError for a protocol, mechanism or setting that aiokafka does not have, and for a certificate or key
    that cannot be read.
    """
    given = aiokafka_settings(cluster)
    named = {"broker_client_id": client_id} if client_id else {}
    passed = {own: given[name] for name, owns in _SAME.items() if name in given for own in owns}
    servers = ";".join(f"kafka://{server}" for server in given["bootstrap_servers"])
    codec = None if cluster.compression == "none" else cluster.compression
    return {
        "broker": servers,
        "broker_credentials": _credentials(given),
        "producer_compression_type": codec,
        **named,
        **passed,
    }


def _credentials(given: dict[str, Any]) -> Any:
    """None for PLAINTEXT."""
    import faust  # takes a second; only the pacing worker needs it

    protocol, context = given["security_protocol"], given.get("ssl_context")
    if protocol == "PLAINTEXT":
        return None
    if protocol == "SSL":
        return faust.SSLCredentials(context)
    if given["sasl_mechanism"] == "OAUTHBEARER":
        from faust.auth import OAuthCredentials  # the package does not export it

        return OAuthCredentials(oauth_cb=given["sasl_oauth_token_provider"], ssl_context=context)
    return faust.SASLCredentials(
        username=given["sasl_plain_username"],
        password=given["sasl_plain_password"],
        ssl_context=context,
        mechanism=given["sasl_mechanism"],
    )
