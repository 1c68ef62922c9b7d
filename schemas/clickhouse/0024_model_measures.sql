-- More measures of models: normalised entropy, limits of calibration, calibration error, and a challenger's losses.
ALTER TABLE model_metric_rows
    ADD COLUMN IF NOT EXISTS settings LowCardinality(String) COMMENT 'digest of the model''s settings; empty before',
    ADD COLUMN IF NOT EXISTS ne Nullable(Float64) COMMENT 'log loss over the entropy of the click rate',
    ADD COLUMN IF NOT EXISTS calibration_low Nullable(Float64) COMMENT 'lower 95 % limit, with clicks as Poisson',
    ADD COLUMN IF NOT EXISTS calibration_high Nullable(Float64) COMMENT 'upper 95 % limit; null without one',
    ADD COLUMN IF NOT EXISTS ece Float64 COMMENT 'mean distance of predicted and actual rate over bins; 0 before',
    ADD COLUMN IF NOT EXISTS against LowCardinality(String) COMMENT 'of a challenger: the model it is compared with',
    ADD COLUMN IF NOT EXISTS against_settings LowCardinality(String) COMMENT 'digest of that model''s settings',
    ADD COLUMN IF NOT EXISTS loss_difference Float64 COMMENT 'sum of weight * (own loss - that of against), nats',
    ADD COLUMN IF NOT EXISTS weight_squared Float64 COMMENT 'sum of weight^2',
    ADD COLUMN IF NOT EXISTS loss_products Float64 COMMENT 'sum of weight^2 * difference',
    ADD COLUMN IF NOT EXISTS loss_squared Float64 COMMENT 'sum of weight^2 * difference^2';

ALTER TABLE model_metric_rows
    COMMENT COLUMN slice 'all, dimension=value, served (the predictions that came) or beside served (own, of the same)';

CREATE OR REPLACE VIEW model_metrics AS
SELECT * EXCEPT (run, inserted_at)
FROM model_metric_rows FINAL
WHERE run = ''
SETTINGS do_not_merge_across_partitions_select_final = 1;

ALTER TABLE model_metrics MODIFY COMMENT 'How good the predictions of one model, shard, window and slice were';
