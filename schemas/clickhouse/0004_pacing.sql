-- Decisions of `ads.pacing`, the last one of each campaign and minute: enough to draw spend against plan, and a
-- campaign decided once a second does not make 86,400 rows a day. TTL by insertion, as replayed days are old.
CREATE TABLE IF NOT EXISTS pacing_rows
(
    run LowCardinality(String) COMMENT 'empty: live work; else the name of a backfill',
    campaign_id LowCardinality(String),
    minute DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'event_time cut to the minute',
    version UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'the highest of a campaign holds',
    event_time DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'event time of the decision',
    day_start DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'the campaign''s local midnight',
    state LowCardinality(String) COMMENT 'on_plan, ahead, behind, exhausted, paused, unknown or outside_flight',
    admit Float64 CODEC(ZSTD(1)) COMMENT 'share of auctions to enter, 0 to 1',
    budget_micros Int64 CODEC(T64, ZSTD(1)) COMMENT 'of the day, millionths of the campaign''s currency',
    spend_micros Int64 CODEC(T64, ZSTD(1)) COMMENT 'of the day so far, millionths of the campaign''s currency',
    plan_micros Int64 CODEC(T64, ZSTD(1)) COMMENT 'the plan by then, millionths of the campaign''s currency',
    impressions Int64 CODEC(T64, ZSTD(1)),
    clicks Int64 CODEC(T64, ZSTD(1)),
    inserted_at DateTime('UTC') DEFAULT now() CODEC(Delta, ZSTD(1)) COMMENT 'by the server''s clock'
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(minute)
ORDER BY (run, campaign_id, minute)
TTL inserted_at + INTERVAL 400 DAY DELETE
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Versions of pacing decisions; read the views pacing and pacing_minutes';

CREATE OR REPLACE VIEW pacing_minutes AS
SELECT * EXCEPT (run, version, inserted_at)
FROM pacing_rows FINAL
WHERE run = ''
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- The latest of each campaign. No FINAL: the highest version is the highest with or without merging.
CREATE OR REPLACE VIEW pacing AS
SELECT * EXCEPT (run, version, minute, inserted_at)
FROM pacing_rows
WHERE run = ''
ORDER BY campaign_id, version DESC
LIMIT 1 BY campaign_id;
