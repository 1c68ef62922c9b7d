-- Versions of `ads.campaigns`; only the highest of each campaign is kept. Small: no partitions, no codecs, no TTL.
CREATE TABLE IF NOT EXISTS campaign_rows
(
    run LowCardinality(String) COMMENT 'empty: live work; else the name of a backfill',
    campaign_id String,
    version UInt64 COMMENT 'the highest of a campaign holds',
    advertiser_id String COMMENT 'empty where none is given',
    status LowCardinality(String) COMMENT 'active or paused',
    pacing LowCardinality(String) COMMENT 'even or asap',
    daily_budget_micros Int64 COMMENT 'millionths of currency',
    max_bid_micros Nullable(Int64) COMMENT 'millionths of currency; null: no bound',
    currency LowCardinality(String) COMMENT 'empty where none is given',
    timezone LowCardinality(String) COMMENT 'IANA name; its midnight starts the budget''s day',
    start_time Nullable(DateTime64(3, 'UTC')) COMMENT 'null: since ever',
    end_time Nullable(DateTime64(3, 'UTC')) COMMENT 'null: for ever'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (run, campaign_id)
COMMENT 'Versions of campaigns; read the view campaigns';

CREATE OR REPLACE VIEW campaigns AS
SELECT * EXCEPT (run)
FROM campaign_rows FINAL
WHERE run = '';
