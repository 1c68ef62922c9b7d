"""Settings of the pacing worker: read from KAFKA_* variables, refused with the remedy, silent about secrets."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import SettingsError
from schemas.topics import DAY_MS
from streams.pacing.settings import PacingSettings, credentials, from_environment
from streams.pacing.shard import Shard
from streams.pacing.view import campaign_view
from tests.test_pacing_counters import DAY, total

SECRET = "not to be printed"


def test_kafka_variables_and_own_fields_make_the_settings() -> None:
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": "one:9092,two:9092",
        "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "KAFKA_SASL_USERNAME": "pace",
        "KAFKA_SASL_PASSWORD": SECRET,
    }
    settings = from_environment(environment, topic_prefix="x.")
    assert (settings.group, settings.changelog) == ("x.pace", "x.pace-state-changelog")
    assert settings.topic("campaign_totals") == "x.campaign_totals"
    assert SECRET not in repr(settings)
    sasl = credentials(settings)
    assert (sasl.username, sasl.password, sasl.mechanism.value) == ("pace", SECRET, "SCRAM-SHA-512")
    assert sasl.protocol.value == "SASL_PLAINTEXT"
    assert SECRET not in repr(sasl)


def test_plaintext_needs_no_credentials_and_ssl_makes_a_context() -> None:
    assert credentials(PacingSettings(bootstrap_servers="one:9092")) is None
    assert credentials(PacingSettings(bootstrap_servers="one:9092", security_protocol="SSL")).context is not None
    sasl = credentials(PacingSettings(bootstrap_servers="one:9092", security_protocol="SASL_SSL"))
    assert sasl.protocol.value == "SASL_SSL"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"bootstrap_servers": ""}, "KAFKA_BOOTSTRAP_SERVERS"),
        ({"security_protocol": "TLS"}, "KAFKA_SECURITY_PROTOCOL"),
        ({"security_protocol": "SASL_SSL", "sasl_mechanism": "GSSAPI"}, "KAFKA_SASL_MECHANISM"),
        ({"tick_s": 0.0}, "tick"),
        ({"session_timeout_s": 0.1}, "session timeout"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_name(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        PacingSettings(**{"bootstrap_servers": "one:9092", **wrong})


def test_a_ca_file_that_is_not_there_is_refused() -> None:
    settings = PacingSettings(bootstrap_servers="one:9092", security_protocol="SSL", ssl_ca_location="/no/such/file")
    with pytest.raises(SettingsError, match="KAFKA_SSL_CA_LOCATION"):
        credentials(settings)


def test_a_view_lists_every_day_of_every_campaign() -> None:
    shard = Shard()
    shard.count([total(version=1, day=DAY), total(version=1, day=DAY + 1, amount=2)])
    view = campaign_view(shard, "c1")
    assert view is not None
    assert (view.timezone, view.campaign, view.decision) == ("UTC", None, None)
    assert [(day.day_start, day.clicks, day.spend_micros) for day in view.days] == [
        (DAY * DAY_MS, 1, 5),
        ((DAY + 1) * DAY_MS, 2, 10),
    ]
