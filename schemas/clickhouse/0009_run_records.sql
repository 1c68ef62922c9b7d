-- What is known of each backfill, and which run's figures the views show.
-- Small tables: no partitions, no codecs, no TTL.
CREATE TABLE IF NOT EXISTS run_rows
(
    run String COMMENT 'name of the backfill, the column run of the other tables',
    version UInt64 COMMENT 'the highest of a run holds',
    kind LowCardinality(String) COMMENT 'join or models',
    state LowCardinality(String) COMMENT 'running or complete',
    from_minute DateTime('UTC') COMMENT 'first minute whose figures are the run''s own and whole',
    to_minute DateTime('UTC') COMMENT 'first minute no longer its own; equal to from_minute: none is',
    settings Map(String, String) COMMENT 'bounds and dimensions it was run with, as text',
    offsets Map(String, Map(String, Array(Int64))) COMMENT 'what it read: by input and partition the first offset and the first no longer read',
    started_at DateTime64(3, 'UTC'),
    finished_at DateTime64(3, 'UTC') COMMENT '1970 while it is running'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY run
COMMENT 'Versions of run records; read the view runs';

CREATE OR REPLACE VIEW runs AS
SELECT *
FROM run_rows FINAL;

-- A promotion puts its run on top of each minute of a span, an undo takes its run out from wherever it lies; what is on
-- top is shown, live work under all. By spans and not by minutes, in one part without partitions: the rows of one
-- promotion are one insert of one block, so a reader sees all of it or nothing, over whichever months it goes.
CREATE TABLE IF NOT EXISTS promotion_rows
(
    version UInt64 COMMENT 'grows with each promotion and undo; rows of one share it',
    run String,
    promoted Bool COMMENT 'false: an undo',
    from_minute DateTime('UTC') COMMENT 'inclusive',
    to_minute DateTime('UTC') COMMENT 'exclusive',
    made_at DateTime('UTC') DEFAULT now() COMMENT 'by the server''s clock'
)
ENGINE = ReplacingMergeTree
ORDER BY (version, run, from_minute)
COMMENT 'Every promotion and undo there was; read the view promoted_spans';

-- Every second at which a span begins or ends, the first of them 0, with the runs that lie there from then on. Live work
-- lies under all of them, placed before the first promotion.
CREATE OR REPLACE VIEW run_piles AS
SELECT start, run, max(version) AS placed
FROM
(
    SELECT arrayJoin(arrayDistinct(arrayConcat(
        [0::UInt32], groupArray(toUnixTimestamp(from_minute)), groupArray(toUnixTimestamp(to_minute))))) AS start
    FROM promotion_rows
) AS starts
CROSS JOIN
(
    SELECT run, version, promoted, toUnixTimestamp(from_minute) AS from_second, toUnixTimestamp(to_minute) AS to_second
    FROM promotion_rows
    UNION ALL
    SELECT '', 0::UInt64, true, 0::UInt32, 4294967295::UInt32
) AS entries
WHERE from_second <= start AND start < to_second
GROUP BY start, run
HAVING argMax(promoted, version);

-- One row: the seconds at which the run shown changes, and the run from there on. One value, because a view that asked
-- twice could be answered from before a promotion and from after it.
CREATE OR REPLACE VIEW active_runs AS
SELECT (groupArray(start), groupArray(top)) AS spans
FROM
(
    SELECT start, argMax(run, (placed, run)) AS top
    FROM run_piles
    GROUP BY start
    ORDER BY start
);

CREATE OR REPLACE VIEW promoted_spans AS
SELECT toDateTime(starts[at], 'UTC') AS from_minute, toDateTime(starts[at + 1], 'UTC') AS to_minute, runs[at] AS run
FROM (SELECT spans.1 AS starts, spans.2 AS runs FROM active_runs)
ARRAY JOIN arrayEnumerate(starts) AS at
WHERE run != ''
ORDER BY from_minute;

-- PREWHERE drops rows of other runs before FINAL merges versions, which is safe as all versions of a key have the same
-- run and minute. Finding a minute's run is a search in the sorted array of changes, whatever the length of spans.
CREATE OR REPLACE VIEW minutes AS
WITH (SELECT spans FROM active_runs) AS active
SELECT * EXCEPT (run, version)
FROM minute_totals FINAL
PREWHERE run IN active.2 AND run = transform(roundDown(toUnixTimestamp(minute), active.1), active.1, active.2, '')
SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE OR REPLACE VIEW outcomes AS
WITH (SELECT spans FROM active_runs) AS active
SELECT * EXCEPT (run, inserted_at)
FROM outcome_rows FINAL
PREWHERE run IN active.2 AND run = transform(roundDown(toUnixTimestamp(event_time), active.1), active.1, active.2, '')
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- Promotions by minute, which nothing ever wrote.
DROP VIEW IF EXISTS promoted_minutes;

DROP TABLE IF EXISTS promotions;
