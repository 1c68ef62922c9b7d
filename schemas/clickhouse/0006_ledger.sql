-- Conservation counts of `ads.ledger`, the latest of each join partition. They grow from the first record on, so the
-- latest row says all; the course of time is in Prometheus. A handful of rows: no partitions, no codecs, no TTL.
CREATE TABLE IF NOT EXISTS ledger_rows
(
    run LowCardinality(String) COMMENT 'empty: live work; else the name of a backfill',
    join_partition UInt32,
    version UInt64 COMMENT 'the highest of a partition holds',
    impressions_consumed Int64 COMMENT 'accepted + late + duplicate + rejected',
    impressions_accepted Int64 COMMENT 'open + closed',
    impressions_late Int64,
    impressions_duplicate Int64,
    impressions_rejected Int64,
    clicks_consumed Int64 COMMENT 'accepted + late + duplicate + rejected',
    clicks_accepted Int64 COMMENT 'billable + repeat + orphan + pending',
    clicks_late Int64,
    clicks_duplicate Int64,
    clicks_rejected Int64,
    open Int64 COMMENT 'impressions a click may still come for',
    closed Int64 COMMENT 'impressions none can come for',
    unclicked Int64 COMMENT 'closed without a billable click',
    billable Int64 COMMENT 'first clicks matched to an impression',
    repeat Int64 COMMENT 'later clicks matched to an impression',
    orphan Int64 COMMENT 'clicks whose impression never came',
    pending Int64 COMMENT 'clicks whose impression may still come',
    impressions_next_offset Int64,
    clicks_next_offset Int64,
    impressions_watermark DateTime64(3, 'UTC') COMMENT 'no earlier impression is accepted any more',
    clicks_watermark DateTime64(3, 'UTC') COMMENT 'no earlier click is accepted any more',
    inserted_at DateTime('UTC') DEFAULT now() COMMENT 'by the server''s clock'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (run, join_partition)
COMMENT 'Versions of the ledger; read the view ledger';

CREATE OR REPLACE VIEW ledger AS
SELECT * EXCEPT (run)
FROM ledger_rows FINAL
WHERE run = '';
