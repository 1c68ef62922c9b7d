-- Totals of `ads.totals`: absolute and versioned, so a row inserted twice, late or out of order changes nothing.
-- Order: most questions name a span of time, then a campaign. The primary index stops at the campaign, because the
-- whole key would be kept in memory for little gain. Partitions by month of the *event*: FINAL needs all versions of a
-- key in one partition, and a month is what one drops or moves. No TTL: a year of minutes is small, and history loaded
-- late would be older than any TTL by event time and vanish as it is inserted.
-- Numbers that repeat or grow slowly: Delta and T64 before ZSTD. Dimensions: LowCardinality, at most some thousands each.
CREATE TABLE IF NOT EXISTS minute_totals
(
    run LowCardinality(String) COMMENT 'empty: live work; else the name of a backfill',
    minute DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'start of the minute: of the impression for impressions and attributed measures, of the click for the others',
    advertiser_id LowCardinality(String) COMMENT 'empty where the impression has none',
    campaign_id LowCardinality(String),
    creative_id LowCardinality(String),
    placement LowCardinality(String) COMMENT 'empty where the impression has none',
    country LowCardinality(String) COMMENT 'empty where the impression has none',
    device LowCardinality(String) COMMENT 'empty where the impression has none',
    experiment LowCardinality(String) COMMENT 'empty where the impression has none',
    arm LowCardinality(String) COMMENT 'empty where the impression has none',
    join_partition UInt32 CODEC(T64, ZSTD(1)) COMMENT 'partition of the join that counted; sum over it',
    version UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'the highest of a key holds',
    final Bool COMMENT 'no accepted record can change it any more',
    impressions Int64 CODEC(T64, ZSTD(1)),
    attributed_clicks Int64 CODEC(T64, ZSTD(1)) COMMENT 'billable clicks of this minute''s impressions',
    attributed_spend_micros Int64 CODEC(T64, ZSTD(1)) COMMENT 'millionths of the campaign''s currency charged for this minute''s impressions',
    expected_clicks_nano Int64 CODEC(T64, ZSTD(1)) COMMENT 'billionths: sum of predicted click probabilities',
    expected_spend_micros Int64 CODEC(T64, ZSTD(1)) COMMENT 'millionths of the campaign''s currency: sum of price by probability',
    clicks Int64 CODEC(T64, ZSTD(1)) COMMENT 'billable clicks made in this minute',
    repeats Int64 CODEC(T64, ZSTD(1)) COMMENT 'further clicks on an impression, not billed',
    spend_micros Int64 CODEC(T64, ZSTD(1)) COMMENT 'millionths of the campaign''s currency charged for clicks made in this minute'
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(minute)
PRIMARY KEY (run, minute, advertiser_id, campaign_id)
ORDER BY (run, minute, advertiser_id, campaign_id, creative_id, placement, country, device, experiment, arm, join_partition)
COMMENT 'Versions of minute totals; read the view minutes';

-- FINAL and not argMax over a GROUP BY: it merges sorted parts, each partition by itself, and passes conditions on the
-- key down, where argMax would hash eleven key columns of all rows. Parts that are merged already cost nothing.
CREATE OR REPLACE VIEW minutes AS
SELECT * EXCEPT (run, version)
FROM minute_totals FINAL
WHERE (run = '' AND minute NOT IN (SELECT minute FROM promoted_minutes))
   OR (minute, run) IN (SELECT minute, run FROM promoted_minutes)
SETTINGS do_not_merge_across_partitions_select_final = 1;
