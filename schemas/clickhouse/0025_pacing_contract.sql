-- What ad servers are told beside the share: the multiplier of bids, the lease, how long a decision holds, and why. Of
-- rows of the version before, the multiplier is 1 and the rest is 0 or empty.
ALTER TABLE pacing_rows
    ADD COLUMN IF NOT EXISTS bid_multiplier Float64 DEFAULT 1 COMMENT 'bids are multiplied by it' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS allowance_micros Int64 COMMENT 'millionths of a currency unit; lease: expected spend until the next decision' CODEC(T64, ZSTD(1)),
    ADD COLUMN IF NOT EXISTS valid_until DateTime64(3, 'UTC') COMMENT 'from then on at most safe_admit holds' CODEC(DoubleDelta, ZSTD(1)),
    ADD COLUMN IF NOT EXISTS safe_admit Float64 COMMENT 'share of auctions while the decision is stale' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS counted_to DateTime64(3, 'UTC') COMMENT 'what happened before it is counted' CODEC(DoubleDelta, ZSTD(1)),
    ADD COLUMN IF NOT EXISTS in_flight_micros Int64 COMMENT 'millionths of a currency unit; what was shown may still cost so much in the day' CODEC(T64, ZSTD(1)),
    ADD COLUMN IF NOT EXISTS reason LowCardinality(String) COMMENT 'why, in words';

ALTER TABLE pacing_rows
    COMMENT COLUMN state 'on_plan, ahead, behind, blind, exhausted, paused, unknown or outside_flight';

CREATE OR REPLACE VIEW pacing_minutes AS
SELECT * EXCEPT (run, version, inserted_at)
FROM pacing_rows FINAL
WHERE run = ''
SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE OR REPLACE VIEW pacing AS
SELECT * EXCEPT (run, version, minute, inserted_at)
FROM pacing_rows
WHERE run = ''
ORDER BY campaign_id, version DESC
LIMIT 1 BY campaign_id;

ALTER TABLE pacing MODIFY COMMENT 'The latest pacing decision on a campaign';

ALTER TABLE pacing_minutes MODIFY COMMENT 'The last pacing decision on a campaign in one minute';
