-- Hours and days, rolled up from minute totals and as right as these under rows that come twice, late or out of order.
--
-- Every minute a view that refreshes itself sums anew the hours touched since its last refresh began, and appends them.
-- The version of a roll-up is the sum of the versions of the totals it was made from. Versions only grow, and keys are
-- only added, so it grows with every change and with nothing else: of two roll-ups of a group the one that saw more
-- holds, whoever made it, in whatever order they arrive, on whichever replica. No clock decides.
--
-- Why not otherwise: a materialized view that adds up what is inserted counts rows sent again, and keeps what a kill
-- between two inserts left out; summing everything anew costs more with every day of history; only final minutes
-- would leave out the present hours and rows that come late.
--
-- A clock only says what to look at again: rows that arrived after the last refresh *began*, less ten minutes. That is
-- far above what an insert may take to be seen, on replicas too: a sink gives an insert up after one minute.

-- What is there already is as old as can be: the first refresh sums everything whatever its age. Filled in at once, as
-- the default would be the time of reading, and everything touched at all times.
ALTER TABLE minute_totals
    ADD COLUMN IF NOT EXISTS inserted_at DateTime('UTC') DEFAULT toDateTime(0, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'by the server''s clock; 1970: before there were roll-ups',
    ADD INDEX IF NOT EXISTS arrival inserted_at TYPE minmax;

ALTER TABLE minute_totals
    MATERIALIZE COLUMN inserted_at,
    MATERIALIZE INDEX arrival
    SETTINGS mutations_sync = 2;

ALTER TABLE minute_totals
    MODIFY COLUMN inserted_at DateTime('UTC') DEFAULT now() CODEC(Delta, ZSTD(1)) COMMENT 'by the server''s clock; 1970: before there were roll-ups';

CREATE OR REPLACE VIEW minutes AS
WITH (SELECT spans FROM active_runs) AS active
SELECT * EXCEPT (run, version, inserted_at)
FROM minute_totals FINAL
PREWHERE run IN active.2 AND run = transform(roundDown(toUnixTimestamp(minute), active.1), active.1, active.2, '')
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- As minute_totals, without the join partition, and with the campaign before the advertiser: in an hour or a day a
-- campaign has enough rows to be found by the key (in a minute it has not), but not behind an advertiser nobody named,
-- who changes within most granules. Partitions by month and no TTL, as minute_totals: where old minutes are dropped,
-- their roll-ups stay, as what is summed of fewer has a lower version.
CREATE TABLE IF NOT EXISTS hour_totals
(
    run LowCardinality(String) COMMENT 'empty: live work; else the name of a backfill',
    hour DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'start of the hour: of the impression for impressions and attributed measures, of the click for the others',
    advertiser_id LowCardinality(String) COMMENT 'empty where the impression has none',
    campaign_id LowCardinality(String),
    creative_id LowCardinality(String),
    placement LowCardinality(String) COMMENT 'empty where the impression has none',
    country LowCardinality(String) COMMENT 'empty where the impression has none',
    device LowCardinality(String) COMMENT 'empty where the impression has none',
    experiment LowCardinality(String) COMMENT 'empty where the impression has none',
    arm LowCardinality(String) COMMENT 'empty where the impression has none',
    version UInt128 CODEC(ZSTD(1)) COMMENT 'sum of the versions of the minute totals it was made from; the highest of a key holds',
    final Bool COMMENT 'no minute total it was made from can change any more; others may still come while the hour is open',
    impressions Int64 CODEC(T64, ZSTD(1)) COMMENT 'impressions accepted',
    attributed_clicks Int64 CODEC(T64, ZSTD(1)) COMMENT 'billable clicks of this hour''s impressions',
    attributed_spend_micros Int64 CODEC(T64, ZSTD(1)) COMMENT 'millionths of the campaign''s currency charged for this hour''s impressions',
    expected_clicks_nano Int64 CODEC(T64, ZSTD(1)) COMMENT 'billionths: sum of predicted click probabilities',
    expected_spend_micros Int64 CODEC(T64, ZSTD(1)) COMMENT 'millionths of the campaign''s currency: sum of price by probability',
    clicks Int64 CODEC(T64, ZSTD(1)) COMMENT 'billable clicks made in this hour',
    repeats Int64 CODEC(T64, ZSTD(1)) COMMENT 'further clicks on an impression, not billed',
    spend_micros Int64 CODEC(T64, ZSTD(1)) COMMENT 'millionths of the campaign''s currency charged for clicks made in this hour',
    inserted_at DateTime('UTC') DEFAULT nowInBlock() CODEC(Delta, ZSTD(1)) COMMENT 'by the server''s clock, as the row was written and not as its refresh began',
    since DateTime('UTC') CODEC(ZSTD(1)) COMMENT 'its refresh summed what was touched since then',
    made_by UUID CODEC(ZSTD(1)) COMMENT 'of the server whose refresh it was',
    INDEX arrival inserted_at TYPE minmax
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(hour)
PRIMARY KEY (run, hour, campaign_id)
ORDER BY (run, hour, campaign_id, advertiser_id, creative_id, placement, country, device, experiment, arm)
COMMENT 'Versions of hours rolled up; read the view hours';

CREATE TABLE IF NOT EXISTS day_totals
(
    run LowCardinality(String) COMMENT 'empty: live work; else the name of a backfill',
    day Date CODEC(DoubleDelta, ZSTD(1)) COMMENT 'UTC day: of the impression for impressions and attributed measures, of the click for the others',
    advertiser_id LowCardinality(String) COMMENT 'empty where the impression has none',
    campaign_id LowCardinality(String),
    creative_id LowCardinality(String),
    placement LowCardinality(String) COMMENT 'empty where the impression has none',
    country LowCardinality(String) COMMENT 'empty where the impression has none',
    device LowCardinality(String) COMMENT 'empty where the impression has none',
    experiment LowCardinality(String) COMMENT 'empty where the impression has none',
    arm LowCardinality(String) COMMENT 'empty where the impression has none',
    version UInt128 CODEC(ZSTD(1)) COMMENT 'sum of the versions of the hours it was made from; the highest of a key holds',
    final Bool COMMENT 'no minute total it was made from can change any more; others may still come while the day is open',
    impressions Int64 CODEC(T64, ZSTD(1)) COMMENT 'impressions accepted',
    attributed_clicks Int64 CODEC(T64, ZSTD(1)) COMMENT 'billable clicks of this day''s impressions',
    attributed_spend_micros Int64 CODEC(T64, ZSTD(1)) COMMENT 'millionths of the campaign''s currency charged for this day''s impressions',
    expected_clicks_nano Int64 CODEC(T64, ZSTD(1)) COMMENT 'billionths: sum of predicted click probabilities',
    expected_spend_micros Int64 CODEC(T64, ZSTD(1)) COMMENT 'millionths of the campaign''s currency: sum of price by probability',
    clicks Int64 CODEC(T64, ZSTD(1)) COMMENT 'billable clicks made on this day',
    repeats Int64 CODEC(T64, ZSTD(1)) COMMENT 'further clicks on an impression, not billed',
    spend_micros Int64 CODEC(T64, ZSTD(1)) COMMENT 'millionths of the campaign''s currency charged for clicks made on this day',
    inserted_at DateTime('UTC') DEFAULT nowInBlock() CODEC(Delta, ZSTD(1)) COMMENT 'by the server''s clock, as the row was written and not as its refresh began',
    since DateTime('UTC') CODEC(ZSTD(1)) COMMENT 'its refresh summed what was touched since then',
    made_by UUID CODEC(ZSTD(1)) COMMENT 'of the server whose refresh it was',
    INDEX arrival inserted_at TYPE minmax
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(day)
PRIMARY KEY (run, day, campaign_id)
ORDER BY (run, day, campaign_id, advertiser_id, creative_id, placement, country, device, experiment, arm)
COMMENT 'Versions of days rolled up; read the view days';

-- `began` is when the last refresh on this server began, if it ended well. After a failure or a restart it is null; then
-- the refresh under which this server wrote its latest rows is repeated as a whole, by the `since` they carry, as some of
-- its rows may be missing. Nothing there at all: everything. That row is looked for only then: with `began` known the
-- condition is false before anything is read.
-- Only touched hours are read, by the primary key. Grouped in its order, an hour at a time in memory, by one thread: for
-- ten million rows of ten days at once that took 26 s and half a GB; without order, going on in files, 43 s and 1.6 GB.
CREATE MATERIALIZED VIEW IF NOT EXISTS hour_rollup
REFRESH EVERY 1 MINUTE APPEND TO hour_totals
AS WITH
    (
        SELECT last_success_time
        FROM system.view_refreshes
        WHERE database = currentDatabase() AND view = 'hour_rollup' AND exception = ''
    ) AS began,
    (
        SELECT argMax(since, (inserted_at, -toUnixTimestamp(since)))
        FROM hour_totals
        WHERE began IS NULL AND made_by = serverUUID()
    ) AS repeated,
    (SELECT count() FROM hour_totals) AS held,
    multiIf(held = 0, toDateTime(0, 'UTC'), began IS NULL, assumeNotNull(repeated), assumeNotNull(began) - INTERVAL 10 MINUTE) AS touched_since
SELECT
    run,
    toStartOfHour(minute) AS hour,
    advertiser_id, campaign_id, creative_id, placement, country, device, experiment, arm,
    sum(toUInt128(version)) AS version,
    min(final) AS final,
    sum(impressions) AS impressions,
    sum(attributed_clicks) AS attributed_clicks,
    sum(attributed_spend_micros) AS attributed_spend_micros,
    sum(expected_clicks_nano) AS expected_clicks_nano,
    sum(expected_spend_micros) AS expected_spend_micros,
    sum(clicks) AS clicks,
    sum(repeats) AS repeats,
    sum(spend_micros) AS spend_micros,
    touched_since AS since,
    serverUUID() AS made_by
FROM minute_totals FINAL
WHERE (run, toStartOfHour(minute)) IN (SELECT run, toStartOfHour(minute) FROM minute_totals WHERE inserted_at >= touched_since)
GROUP BY run, hour, advertiser_id, campaign_id, creative_id, placement, country, device, experiment, arm
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_aggregation_in_order = 1, max_threads = 1,
    min_insert_block_size_rows = 200000, min_insert_block_size_bytes = 67108864;

CREATE MATERIALIZED VIEW IF NOT EXISTS day_rollup
REFRESH EVERY 1 MINUTE APPEND TO day_totals
AS WITH
    (
        SELECT last_success_time
        FROM system.view_refreshes
        WHERE database = currentDatabase() AND view = 'day_rollup' AND exception = ''
    ) AS began,
    (
        SELECT argMax(since, (inserted_at, -toUnixTimestamp(since)))
        FROM day_totals
        WHERE began IS NULL AND made_by = serverUUID()
    ) AS repeated,
    (SELECT count() FROM day_totals) AS held,
    multiIf(held = 0, toDateTime(0, 'UTC'), began IS NULL, assumeNotNull(repeated), assumeNotNull(began) - INTERVAL 10 MINUTE) AS touched_since
SELECT
    run,
    toDate(hour) AS day,
    advertiser_id, campaign_id, creative_id, placement, country, device, experiment, arm,
    sum(version) AS version,
    min(final) AS final,
    sum(impressions) AS impressions,
    sum(attributed_clicks) AS attributed_clicks,
    sum(attributed_spend_micros) AS attributed_spend_micros,
    sum(expected_clicks_nano) AS expected_clicks_nano,
    sum(expected_spend_micros) AS expected_spend_micros,
    sum(clicks) AS clicks,
    sum(repeats) AS repeats,
    sum(spend_micros) AS spend_micros,
    touched_since AS since,
    serverUUID() AS made_by
FROM hour_totals FINAL
WHERE (run, toDate(hour)) IN (SELECT run, toDate(hour) FROM hour_totals WHERE inserted_at >= touched_since)
GROUP BY run, day, advertiser_id, campaign_id, creative_id, placement, country, device, experiment, arm
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_aggregation_in_order = 1, max_threads = 1,
    min_insert_block_size_rows = 200000, min_insert_block_size_bytes = 67108864;

-- Each hour of the run that is shown for it; one in which that changes is summed from its minutes. As `minutes`, but for
-- the last minute or so, which is not rolled up yet. The hours to sum are a subquery, because the primary key is asked
-- for a set of rows, not for an array of numbers: without one all minutes would be read to sum none.
CREATE OR REPLACE VIEW hours AS
WITH
    (SELECT spans FROM active_runs) AS active,
    arrayDistinct(arrayMap(start -> start - start % 3600, arrayFilter(start -> start % 3600 != 0, active.1))) AS mixed
SELECT *
FROM
(
    SELECT * EXCEPT (run, version, inserted_at, since, made_by)
    FROM hour_totals FINAL
    PREWHERE run IN active.2 AND run = transform(roundDown(toUnixTimestamp(hour), active.1), active.1, active.2, '')
        AND toUnixTimestamp(hour) NOT IN mixed
    UNION ALL
    SELECT
        toStartOfHour(minute) AS hour,
        advertiser_id, campaign_id, creative_id, placement, country, device, experiment, arm,
        min(final) AS final,
        sum(impressions) AS impressions,
        sum(attributed_clicks) AS attributed_clicks,
        sum(attributed_spend_micros) AS attributed_spend_micros,
        sum(expected_clicks_nano) AS expected_clicks_nano,
        sum(expected_spend_micros) AS expected_spend_micros,
        sum(clicks) AS clicks,
        sum(repeats) AS repeats,
        sum(spend_micros) AS spend_micros
    FROM minute_totals FINAL
    PREWHERE run IN active.2 AND run = transform(roundDown(toUnixTimestamp(minute), active.1), active.1, active.2, '')
        AND toStartOfHour(minute) IN (SELECT toDateTime(arrayJoin(mixed), 'UTC'))
    GROUP BY hour, advertiser_id, campaign_id, creative_id, placement, country, device, experiment, arm
)
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- In the same manner; a day in which the run shown changes is summed from its minutes.
CREATE OR REPLACE VIEW days AS
WITH
    (SELECT spans FROM active_runs) AS active,
    arrayDistinct(arrayMap(start -> start - start % 86400, arrayFilter(start -> start % 86400 != 0, active.1))) AS mixed
SELECT *
FROM
(
    SELECT * EXCEPT (run, version, inserted_at, since, made_by)
    FROM day_totals FINAL
    PREWHERE run IN active.2 AND run = transform(roundDown(86400 * toUInt32(day), active.1), active.1, active.2, '')
        AND 86400 * toUInt32(day) NOT IN mixed
    UNION ALL
    SELECT
        toDate(minute) AS day,
        advertiser_id, campaign_id, creative_id, placement, country, device, experiment, arm,
        min(final) AS final,
        sum(impressions) AS impressions,
        sum(attributed_clicks) AS attributed_clicks,
        sum(attributed_spend_micros) AS attributed_spend_micros,
        sum(expected_clicks_nano) AS expected_clicks_nano,
        sum(expected_spend_micros) AS expected_spend_micros,
        sum(clicks) AS clicks,
        sum(repeats) AS repeats,
        sum(spend_micros) AS spend_micros
    FROM minute_totals FINAL
    PREWHERE run IN active.2 AND run = transform(roundDown(toUnixTimestamp(minute), active.1), active.1, active.2, '')
        AND toDate(minute) IN (SELECT toDate(toDateTime(arrayJoin(mixed), 'UTC')))
    GROUP BY day, advertiser_id, campaign_id, creative_id, placement, country, device, experiment, arm
)
SETTINGS do_not_merge_across_partitions_select_final = 1;
