-- What is known of a campaign, in memory: dictGet('ads.campaign_facts', 'currency', campaign_id) beside any figures,
-- where a join would read the campaigns once a query. Read again about once a minute; the first use loads it.
-- The source names no host, so it is this server, and no database, so it is the dictionary's own. It reads as the user
-- `default` without a password; where that one is refused, `clickfold init` makes it anew to read as its own user.
-- A campaign nobody announced has the defaults.
CREATE OR REPLACE DICTIONARY campaign_facts
(
    campaign_id String,
    advertiser_id String DEFAULT '',
    status String DEFAULT '',
    pacing String DEFAULT '',
    daily_budget_micros Int64 DEFAULT 0,
    max_bid_micros Nullable(Int64),
    currency String DEFAULT '',
    timezone String DEFAULT 'UTC',
    start_time Nullable(DateTime64(3, 'UTC')),
    end_time Nullable(DateTime64(3, 'UTC'))
)
PRIMARY KEY campaign_id
SOURCE(CLICKHOUSE(TABLE 'campaigns'))
LIFETIME(MIN 30 MAX 60)
LAYOUT(COMPLEX_KEY_HASHED())
COMMENT 'Campaigns by id; _micros are millionths of currency, timezone is an IANA name';
