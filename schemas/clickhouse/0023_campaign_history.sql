-- Changes of `ads.campaign_history`, all of them: what was in force of a campaign, and when. The sink fills it from the
-- topic's beginning. The table before it stays, because a sink of the version before may still write it.
CREATE TABLE IF NOT EXISTS campaign_history_rows
(
    run LowCardinality(String) COMMENT 'empty: live work; else the name of a backfill',
    campaign_id String,
    number UInt64 COMMENT '1 for the first change of a campaign, one more for each later one',
    in_force_from DateTime64(3, 'UTC') COMMENT 'Kafka''s timestamp of the record in ads.campaigns',
    source_partition UInt32 COMMENT 'partition of that record',
    source_offset Int64 COMMENT 'offset of that record',
    withdrawn Bool COMMENT 'the record was a tombstone: from then on the campaign has no budget',
    version UInt64 COMMENT 'of the campaign; 0 of a withdrawal',
    advertiser_id String COMMENT 'empty where none is given',
    status LowCardinality(String) COMMENT 'active or paused; empty of a withdrawal',
    pacing LowCardinality(String) COMMENT 'even or asap; empty of a withdrawal',
    daily_budget_micros Int64 COMMENT 'millionths of currency; 0 of a withdrawal',
    max_bid_micros Nullable(Int64) COMMENT 'millionths of currency; null: no bound',
    currency LowCardinality(String) COMMENT 'empty where none is given',
    timezone LowCardinality(String) COMMENT 'IANA name; its midnight starts the budget''s day; empty of a withdrawal',
    start_time Nullable(DateTime64(3, 'UTC')) COMMENT 'null: since ever',
    end_time Nullable(DateTime64(3, 'UTC')) COMMENT 'null: for ever'
)
ENGINE = ReplacingMergeTree
ORDER BY (run, campaign_id, number)
COMMENT 'Changes of campaigns, possibly twice; read the views campaign_history and campaigns';

ALTER TABLE campaign_history_rows MODIFY SETTING non_replicated_deduplication_window = 1000;

-- A change ends when a later one comes into force; with clocks of producers, a later one may have an earlier time.
CREATE OR REPLACE VIEW campaign_history AS
SELECT
    * EXCEPT (run),
    minOrNull(in_force_from) OVER (
        PARTITION BY campaign_id ORDER BY number ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
    ) AS in_force_until
FROM campaign_history_rows FINAL
WHERE run = '';

ALTER TABLE campaign_history MODIFY COMMENT 'A change of a campaign, and from when to when it was in force';

ALTER TABLE campaign_history COMMENT COLUMN in_force_until 'when a later change came into force; null: none has yet';

CREATE OR REPLACE VIEW campaigns AS
SELECT
    campaign_id,
    version,
    advertiser_id,
    status,
    pacing,
    daily_budget_micros,
    max_bid_micros,
    currency,
    timezone,
    start_time,
    end_time
FROM campaign_history_rows FINAL
WHERE run = '' AND NOT withdrawn
ORDER BY number DESC
LIMIT 1 BY campaign_id;

ALTER TABLE campaigns MODIFY COMMENT 'The latest version of a campaign, also after it was withdrawn';

ALTER TABLE campaign_rows MODIFY COMMENT 'Of versions before campaign_history_rows; no longer read or written';
