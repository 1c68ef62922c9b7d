"""Fixtures every test of this folder may ask for: a Kafka and a ClickHouse of the whole session.

They stand here and not a folder higher, so that a unit test pays for neither's imports.
"""

from tests.integration.broker_fixture import broker as broker
from tests.integration.broker_fixture import topic_prefix as topic_prefix
from tests.integration.clickhouse_fixture import ads as ads
from tests.integration.clickhouse_fixture import clickhouse as clickhouse
from tests.integration.clickhouse_fixture import database as database
from tests.integration.clickhouse_fixture import fresh as fresh
from tests.integration.clickhouse_fixture import golden as golden
from tests.integration.clickhouse_fixture import migrated as migrated
from tests.integration.registry_fixture import registry as registry
