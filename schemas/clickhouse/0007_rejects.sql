-- Dead letters of `ads.rejects`, without their bytes: those may name a user. Kafka has them at the coordinates.
-- Partitions by the record's own time, which a second delivery repeats; the time of insertion would split copies.
CREATE TABLE IF NOT EXISTS reject_rows
(
    run LowCardinality(String) COMMENT 'empty: live work; else the name of a backfill',
    topic LowCardinality(String) COMMENT 'where the record is',
    partition UInt32 CODEC(T64, ZSTD(1)),
    offset Int64 CODEC(Delta, ZSTD(1)),
    reason LowCardinality(String),
    detail String CODEC(ZSTD(1)) COMMENT 'the field and bound that were violated',
    record_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Kafka''s timestamp of the record; 1970 where it has none',
    length_bytes UInt64 CODEC(T64, ZSTD(1)) COMMENT 'of the record''s value',
    xxh3 String CODEC(ZSTD(1)) COMMENT 'xxh3-64 of the value, hex',
    inserted_at DateTime('UTC') DEFAULT now() CODEC(Delta, ZSTD(1)) COMMENT 'by the server''s clock'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(record_time)
ORDER BY (run, topic, partition, offset, reason)
TTL inserted_at + INTERVAL 90 DAY DELETE
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Dead letters, possibly twice; read the view rejects';

CREATE OR REPLACE VIEW rejects AS
SELECT * EXCEPT (run, inserted_at)
FROM reject_rows FINAL
WHERE run = ''
SETTINGS do_not_merge_across_partitions_select_final = 1;
