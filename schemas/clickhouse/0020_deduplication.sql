-- The last thousand inserts are remembered by their tokens: one whose answer was lost is sent again and stored once. An
-- economy only: without it, or an hour later, rows are stored twice and the views are the same. Ignored by replicated
-- tables, which remember by default.
ALTER TABLE minute_totals MODIFY SETTING non_replicated_deduplication_window = 1000;

ALTER TABLE outcome_rows MODIFY SETTING non_replicated_deduplication_window = 1000;

ALTER TABLE pacing_rows MODIFY SETTING non_replicated_deduplication_window = 1000;

ALTER TABLE model_metric_rows MODIFY SETTING non_replicated_deduplication_window = 1000;

ALTER TABLE ledger_rows MODIFY SETTING non_replicated_deduplication_window = 1000;

ALTER TABLE reject_rows MODIFY SETTING non_replicated_deduplication_window = 1000;

ALTER TABLE campaign_rows MODIFY SETTING non_replicated_deduplication_window = 1000;
