"""The dictionary of campaigns: what it says, and as whom it reads."""

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from schemas.clickhouse.clustered import clustered
from schemas.clickhouse.dictionaries import CAMPAIGN_FACTS, make_readable, reading_as
from schemas.clickhouse.migrations import migrations
from schemas.errors import SettingsError
from schemas.events import Campaign
from tests.golden import HOUR_MS, announce

pytestmark = pytest.mark.clickhouse

EVERY = [statement for migration in migrations() for statement in migration.statements]
MADE = [statement for statement in EVERY if f"DICTIONARY {CAMPAIGN_FACTS}" in statement][-1]
KNOWN = Campaign("k1", 10**6, "Europe/Berlin", "active", "even", 3, advertiser_id="a1", currency="EUR", start=HOUR_MS)


@pytest.fixture
def ads(ads: Client) -> Client:
    """A client on a database with all tables and a campaign."""
    announce(ads, KNOWN)
    return ads


def fact(client: Client, name: str, campaign: str = "k1") -> object:
    """As asked from another database, by the dictionary's whole name."""
    sql = "SELECT dictGet({dictionary:String}, {name:String}, {campaign:String})"
    values = {"dictionary": f"{client.database}.{CAMPAIGN_FACTS}", "name": name, "campaign": campaign}
    ((found,),) = client.query(sql, parameters=values, settings={"database": "default"}).result_rows
    return found


def test_facts_are_those_of_the_newest_version_and_unknown_campaigns_have_defaults(ads: Client) -> None:
    assert [fact(ads, name) for name in ("timezone", "currency", "advertiser_id", "status", "pacing")] == [
        "Europe/Berlin", "EUR", "a1", "active", "even",
    ]  # fmt: skip
    assert (fact(ads, "daily_budget_micros"), fact(ads, "max_bid_micros")) == (10**6, None)
    assert (fact(ads, "timezone", "k2"), fact(ads, "daily_budget_micros", "k2")) == ("UTC", 0)
    announce(ads, Campaign("k1", 7, "Asia/Tokyo", "paused", "asap", 4), number=2)
    make_readable(ads, password="")
    assert (fact(ads, "timezone"), fact(ads, "daily_budget_micros"), fact(ads, "currency")) == ("Asia/Tokyo", 7, "")


def test_every_column_of_campaigns_is_a_fact_of_the_same_type_but_the_version(ads: Client) -> None:
    sql = "SELECT name, replaceRegexpOne(type, 'LowCardinality\\((.*)\\)', '\\\\1') FROM system.columns "
    where = "WHERE database = currentDatabase() AND table = {table:String} AND name != 'version' ORDER BY name"
    campaigns, facts = (
        ads.query(sql + where, parameters={"table": table}).result_rows for table in ("campaigns", CAMPAIGN_FACTS)
    )
    assert facts == campaigns


def test_a_dictionary_whose_user_is_refused_is_made_anew_to_read_as_the_client(ads: Client) -> None:
    ads.command(reading_as(MADE, "former", "old"))
    with pytest.raises(DatabaseError, match="AUTHENTICATION_FAILED"):
        fact(ads, "timezone")
    make_readable(ads, password="")
    assert fact(ads, "timezone") == "Europe/Berlin"


def test_who_is_refused_as_well_is_told_so_without_the_password(ads: Client) -> None:
    ads.command(reading_as(MADE, "former", "old"))
    with pytest.raises(SettingsError, match="can't read as user default") as told:
        make_readable(ads, password="s3cr'\\et")
    assert "s3cr" not in str(told.value)
    assert "s3cr" not in str(ads.command(f"SHOW CREATE DICTIONARY {CAMPAIGN_FACTS}"))


@pytest.mark.parametrize("word", ["plain", "it's", "back\\slash", "'", "\\'", "50%"])
def test_user_and_password_are_values_whatever_is_in_them(database: Client, word: str) -> None:
    made = clustered(reading_as(MADE, word, word), "replicas")
    # The parser's own reading of it; EXPLAIN AST would say what it is made of, without values.
    ((text,),) = database.query("SELECT formatQuery({sql:String})", parameters={"sql": made}).result_rows
    quoted = word.replace("\\", "\\\\").replace("'", "\\'")
    assert f"USER '{quoted}' PASSWORD '{quoted}' TABLE 'campaigns'" in text
