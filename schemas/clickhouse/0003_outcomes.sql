-- Decisions of `ads.outcomes`: billable clicks, repeats, orphans, and the kept share of unclicked impressions.
-- Each is made once, so rows of one key are copies and need no version. The key is impression, click and click time
-- (ids may come back after their dedupe horizon) and the event time; campaign and hour go first because
-- questions name them; both follow from the rest, so they do not loosen the key.
-- TTL by time of insertion, never by event time: history loaded late would vanish as it is inserted. Whole parts are
-- dropped, which costs nothing; a month of events goes when the last of it was inserted 90 days ago.
CREATE TABLE IF NOT EXISTS outcome_rows
(
    run LowCardinality(String) COMMENT 'empty: live work; else the name of a backfill',
    kind LowCardinality(String) COMMENT 'click (billable), repeat, unclicked (a sample) or orphan',
    event_time DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'of the impression; of the click for an orphan',
    campaign_id LowCardinality(String) COMMENT 'empty for an orphan',
    impression_id String CODEC(ZSTD(1)),
    click_id String CODEC(ZSTD(1)) COMMENT 'empty for unclicked',
    click_time DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT '1970 for unclicked',
    delay_ms Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'click time - impression time; negative when clocks disagree',
    weight Float64 CODEC(ZSTD(1)) COMMENT 'how many impressions an unclicked row stands for; else 1',
    price_micros Int64 CODEC(T64, ZSTD(1)) COMMENT 'millionths of the campaign''s currency, charged for kind click only',
    pctr Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'click probability the bidder predicted',
    model_version LowCardinality(String) COMMENT 'that made pctr',
    advertiser_id LowCardinality(String),
    creative_id LowCardinality(String),
    placement LowCardinality(String),
    country LowCardinality(String),
    device LowCardinality(String),
    experiment LowCardinality(String),
    arm LowCardinality(String),
    user_hash UInt64 CODEC(ZSTD(1)) COMMENT 'xxh3-64 of the user id, 0 without one: counts users, does not name them. Not a defence against someone who holds a list of ids',
    join_partition UInt32 CODEC(T64, ZSTD(1)),
    inserted_at DateTime('UTC') DEFAULT now() CODEC(Delta, ZSTD(1)) COMMENT 'by the server''s clock'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(event_time)
PRIMARY KEY (run, toStartOfHour(event_time), campaign_id)
ORDER BY (run, toStartOfHour(event_time), campaign_id, event_time, impression_id, click_id, click_time)
TTL inserted_at + INTERVAL 90 DAY DELETE
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Outcomes, possibly twice; read the views outcomes and clicks';

CREATE OR REPLACE VIEW outcomes AS
SELECT * EXCEPT (run, inserted_at)
FROM outcome_rows FINAL
WHERE (run = '' AND toStartOfMinute(event_time) NOT IN (SELECT minute FROM promoted_minutes))
   OR (toStartOfMinute(event_time), run) IN (SELECT minute, run FROM promoted_minutes)
SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE OR REPLACE VIEW clicks AS
SELECT * EXCEPT (weight), if(kind = 'click', price_micros, 0) AS spend_micros
FROM outcomes
WHERE kind IN ('click', 'repeat');
