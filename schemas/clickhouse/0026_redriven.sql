-- Records of `ads.redriven`: dead letters whose record was sent again, mended. The key is the place of the original and
-- the input it was sent to, so a second delivery changes nothing. A handful of
-- rows: no partitions and no TTL, because the ledger counts them from the first record on.
CREATE TABLE IF NOT EXISTS redriven_rows
(
    run LowCardinality(String) COMMENT 'empty: live work; else the name of a backfill',
    topic LowCardinality(String) COMMENT 'where the original is',
    partition UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Kafka partition of the original',
    offset Int64 CODEC(Delta, ZSTD(1)) COMMENT 'Kafka offset of the original',
    input LowCardinality(String) COMMENT 'impressions or clicks: where it was sent to',
    join_partition UInt32 CODEC(T64, ZSTD(1)) COMMENT 'partition of that input',
    reason LowCardinality(String) COMMENT 'of its dead letter',
    event_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'of the record that was sent',
    redriven_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'by the clock of the command',
    mapping LowCardinality(String) COMMENT 'digest of the mapping that mended it; empty without one',
    inserted_at DateTime('UTC') DEFAULT now() CODEC(Delta, ZSTD(1)) COMMENT 'by the server''s clock'
)
ENGINE = ReplacingMergeTree
ORDER BY (run, topic, partition, offset, input)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Redriven records, possibly twice; read the view redriven';

CREATE OR REPLACE VIEW redriven AS
SELECT * EXCEPT (run, inserted_at)
FROM redriven_rows FINAL
WHERE run = '';

ALTER TABLE redriven MODIFY COMMENT 'Records that had a dead letter and were sent to the live log again, mended';

-- They were consumed a second time: the counts of the ledger have both the refused record and the one that was sent.
CREATE OR REPLACE VIEW ledger AS
SELECT
    ledger_rows.* EXCEPT (run),
    sent.impressions AS impressions_redriven,
    sent.clicks AS clicks_redriven
FROM (SELECT * FROM ledger_rows FINAL WHERE run = '') AS ledger_rows
LEFT JOIN
(
    SELECT join_partition, countIf(input = 'impressions') AS impressions, countIf(input = 'clicks') AS clicks
    FROM redriven
    GROUP BY join_partition
) AS sent USING (join_partition);

ALTER TABLE ledger MODIFY COMMENT 'What became of every record of one join partition, from the first record on';

ALTER TABLE ledger
    COMMENT COLUMN impressions_redriven 'of impressions_consumed: dead letters that were sent again',
    COMMENT COLUMN clicks_redriven 'of clicks_consumed: dead letters that were sent again';
