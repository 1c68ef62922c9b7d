-- What a row of each view is, and what its own columns hold. Other columns are those of the table below, whose comments
-- say it. A view that is made anew needs its comment again: a test finds one without.
ALTER TABLE minutes MODIFY COMMENT 'Totals so far of one minute, one combination of dimensions, one join partition';

ALTER TABLE hours MODIFY COMMENT 'Totals so far of one hour and one combination of dimensions; a minute or two behind minutes';

ALTER TABLE hours COMMENT COLUMN hour 'start of the hour: of the impression for impressions and attributed measures, of the click for the others';

ALTER TABLE days MODIFY COMMENT 'Totals so far of one UTC day and one combination of dimensions; a minute or two behind minutes';

ALTER TABLE days COMMENT COLUMN day 'UTC day: of the impression for impressions and attributed measures, of the click for the others';

ALTER TABLE outcomes MODIFY COMMENT 'A billable click, a repeat, an orphan, or an impression without click out of the sample that is kept';

ALTER TABLE clicks MODIFY COMMENT 'A click that was matched to its impression: billable or a repeat';

ALTER TABLE clicks COMMENT COLUMN spend_micros 'millionths of the campaign''s currency charged: price_micros of a billable click, 0 of a repeat';

ALTER TABLE pacing MODIFY COMMENT 'The latest pacing decision on a campaign';

ALTER TABLE pacing_minutes MODIFY COMMENT 'The last pacing decision on a campaign in one minute';

ALTER TABLE model_metrics MODIFY COMMENT 'How good the predictions of one model, shard, window and slice were';

ALTER TABLE ledger MODIFY COMMENT 'What became of every record of one join partition, from the first record on';

ALTER TABLE rejects MODIFY COMMENT 'A dead letter';

ALTER TABLE campaigns MODIFY COMMENT 'The latest version of a campaign';

ALTER TABLE runs MODIFY COMMENT 'The latest record of a backfill';

ALTER TABLE promoted_spans MODIFY COMMENT 'A span of minutes that views read from a backfill';

ALTER TABLE promoted_spans
    COMMENT COLUMN from_minute 'first minute of the span',
    COMMENT COLUMN to_minute 'first minute after the span',
    COMMENT COLUMN run 'name of the backfill';
