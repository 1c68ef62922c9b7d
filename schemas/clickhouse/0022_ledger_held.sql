-- Records that wait for confirmation, and records that only a seal made late.
ALTER TABLE ledger_rows
    ADD COLUMN IF NOT EXISTS impressions_held Int64 COMMENT 'far ahead of their log, waiting to be confirmed',
    ADD COLUMN IF NOT EXISTS impressions_late_by_seal Int64 COMMENT 'part of impressions_late: below a seal only',
    ADD COLUMN IF NOT EXISTS clicks_held Int64 COMMENT 'far ahead of their log, waiting to be confirmed',
    ADD COLUMN IF NOT EXISTS clicks_late_by_seal Int64 COMMENT 'part of clicks_late: below a seal only';

CREATE OR REPLACE VIEW ledger AS
SELECT * EXCEPT (run)
FROM ledger_rows FINAL
WHERE run = '';

ALTER TABLE ledger MODIFY COMMENT 'What became of every record of one join partition, from the first record on';
