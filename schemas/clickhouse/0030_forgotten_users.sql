-- Users who asked to be forgotten, by the hash that outcomes have of them. `clickfold forget` writes a row and takes the
-- hash out of all outcomes. Rows that come later, by a replay or a sink that starts again, must not bring it back: sinks
-- and backfills leave it out, and until they know of it the view does. The table is small and has no TTL: a hash is
-- needed for as long as its user's records can be read somewhere.
CREATE TABLE IF NOT EXISTS forgotten_users
(
    user_hash UInt64 COMMENT 'as in outcome_rows: xxh3-64 of the user id',
    forgotten_at DateTime('UTC') DEFAULT now() COMMENT 'by the server''s clock'
)
ENGINE = ReplacingMergeTree(forgotten_at)
ORDER BY user_hash
COMMENT 'Users of whom outcomes keep no hash';

-- Only a query that reads user_hash pays for looking it up.
CREATE OR REPLACE VIEW outcomes AS
WITH (SELECT spans FROM active_runs) AS active
SELECT
    * EXCEPT (run, inserted_at)
    REPLACE (if(user_hash IN (SELECT user_hash FROM forgotten_users), 0, user_hash) AS user_hash)
FROM outcome_rows FINAL
PREWHERE run IN active.2 AND run = transform(roundDown(toUnixTimestamp(event_time), active.1), active.1, active.2, '')
SETTINGS do_not_merge_across_partitions_select_final = 1;

ALTER TABLE outcomes MODIFY COMMENT 'A billable click, a repeat, an orphan, or an impression without click out of the sample that is kept';

ALTER TABLE outcome_rows
    COMMENT COLUMN user_hash 'xxh3-64 of the user id, 0 without one or of a user who was forgotten: counts users, does not name them. Not a defence against someone who holds a list of ids';
