"""Fixtures every test may ask for."""

from hypothesis import settings

from tests.integration.broker_fixture import broker as broker
from tests.integration.broker_fixture import topic_prefix as topic_prefix
from tests.integration.clickhouse_fixture import ads as ads
from tests.integration.clickhouse_fixture import clickhouse as clickhouse
from tests.integration.clickhouse_fixture import database as database
from tests.integration.clickhouse_fixture import golden as golden

# How long an example takes says something of the machine, not of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
