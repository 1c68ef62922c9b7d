-- Progressive validation of `ads.model_metrics`, a row for each model, shard, window and slice.
CREATE TABLE IF NOT EXISTS model_metric_rows
(
    run LowCardinality(String) COMMENT 'empty: live work; else the name of a backfill',
    model LowCardinality(String),
    shard UInt32 CODEC(T64, ZSTD(1)),
    slice LowCardinality(String) COMMENT 'all, or dimension=value',
    window_start DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'event time, inclusive',
    window_end DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'event time, exclusive',
    version UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'of the model at the end of the window; the highest holds',
    examples Int64 CODEC(T64, ZSTD(1)) COMMENT 'outcomes seen',
    weight Float64 COMMENT 'impressions they stand for',
    clicks Float64 COMMENT 'weighted',
    predicted_clicks Float64 COMMENT 'weighted sum of predictions made before learning',
    log_loss Float64 COMMENT 'nats per unit of weight',
    auc Nullable(Float64) COMMENT 'exact within the window; null when it held one class only',
    calibration Nullable(Float64) COMMENT 'predicted over observed clicks; null without clicks',
    inserted_at DateTime('UTC') DEFAULT now() CODEC(Delta, ZSTD(1)) COMMENT 'by the server''s clock'
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(window_start)
ORDER BY (run, model, slice, window_start, window_end, shard)
TTL inserted_at + INTERVAL 400 DAY DELETE
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Versions of model metrics; read the view model_metrics';

CREATE OR REPLACE VIEW model_metrics AS
SELECT * EXCEPT (run, inserted_at)
FROM model_metric_rows FINAL
WHERE run = ''
SETTINGS do_not_merge_across_partitions_select_final = 1;
