-- Columns that said nothing of what they count, or in which unit.
ALTER TABLE minute_totals
    COMMENT COLUMN impressions 'impressions accepted';

ALTER TABLE outcome_rows
    COMMENT COLUMN delay_ms 'milliseconds: click time - impression time; negative when clocks disagree',
    COMMENT COLUMN join_partition 'partition of the join that decided';

ALTER TABLE pacing_rows
    COMMENT COLUMN impressions 'of the day so far',
    COMMENT COLUMN clicks 'billable, of the day so far';

ALTER TABLE model_metric_rows
    COMMENT COLUMN model 'its name',
    COMMENT COLUMN shard 'partition of the outcomes it learned from';

ALTER TABLE ledger_rows
    COMMENT COLUMN join_partition 'partition of both inputs',
    COMMENT COLUMN impressions_late 'refused: further behind than the lateness allowed',
    COMMENT COLUMN impressions_duplicate 'same id and content as one accepted before',
    COMMENT COLUMN impressions_rejected 'refused for any other reason',
    COMMENT COLUMN clicks_late 'refused: further behind than the lateness allowed',
    COMMENT COLUMN clicks_duplicate 'same id and content as one accepted before',
    COMMENT COLUMN clicks_rejected 'refused for any other reason',
    COMMENT COLUMN impressions_next_offset 'first Kafka offset not counted yet',
    COMMENT COLUMN clicks_next_offset 'first Kafka offset not counted yet';

ALTER TABLE reject_rows
    COMMENT COLUMN partition 'Kafka partition of the record',
    COMMENT COLUMN offset 'Kafka offset of the record',
    COMMENT COLUMN reason 'late, future, conflict, undecodable, key, too_large, tombstone or unwritable',
    COMMENT COLUMN length_bytes 'bytes of the record''s value';

ALTER TABLE run_rows
    COMMENT COLUMN started_at 'by the clock of the machine it was begun on';

ALTER TABLE promotion_rows
    COMMENT COLUMN run 'name of the backfill';
