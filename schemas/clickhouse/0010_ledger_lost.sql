-- What --accept-loss left out: records Kafka no longer had when a worker needed them. Else 0.
ALTER TABLE ledger_rows
    ADD COLUMN IF NOT EXISTS lost_impressions Int64 COMMENT 'open impressions that could not be read again',
    ADD COLUMN IF NOT EXISTS lost_clicks Int64 COMMENT 'pending clicks that could not be read again',
    MODIFY COLUMN impressions_accepted Int64 COMMENT 'open + closed + lost_impressions',
    MODIFY COLUMN clicks_accepted Int64 COMMENT 'billable + repeat + orphan + pending + lost_clicks';

CREATE OR REPLACE VIEW ledger AS
SELECT * EXCEPT (run)
FROM ledger_rows FINAL
WHERE run = '';
