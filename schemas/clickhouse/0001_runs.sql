-- Runs: '' is live work, any other name a backfill. Every table has `run` first in its key, so runs never mix.
-- A promoted minute is read from its run instead of from live work. By minute and not by day: only minutes that are
-- wholly covered and final in both runs may change hands, and a run seldom ends at midnight. Run '' takes one back.
CREATE TABLE IF NOT EXISTS promotions
(
    minute DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'start of the minute',
    run LowCardinality(String) COMMENT 'the run its figures are read from; empty: live work',
    version UInt64 COMMENT 'of two promotions of a minute the higher one holds'
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(minute)
ORDER BY minute
COMMENT 'Which run a minute is read from; minutes without a row are read from live work';

CREATE OR REPLACE VIEW promoted_minutes AS
SELECT minute, argMax(promotions.run, version) AS run
FROM promotions
GROUP BY minute
HAVING run != '';
