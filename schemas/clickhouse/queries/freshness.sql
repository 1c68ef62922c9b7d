-- The newest event time of every source, and when the last row arrived: watermarks, totals, outcomes and more.
-- param: now DateTime('UTC') '1970-01-01 00:00:00' -- the time from which ages are counted, UTC; 1970: the server's clock
-- newest_time is event time; of the two watermarks it is that of the slowest partition. behind_s is how long ago that
-- is. inserted_at is by the server's clock. For minutes, hours and days, newest_time is the start of the newest one;
-- hours and days are rolled up every minute if anything came. Live work only. A source without rows is left out.
WITH if({now:DateTime('UTC')} = toDateTime(0, 'UTC'), now('UTC'), {now:DateTime('UTC')}) AS moment
SELECT
    source,
    newest_time,
    dateDiff('second', newest_time, moment) AS behind_s,
    inserted_at,
    dateDiff('second', inserted_at, moment) AS inserted_ago_s
FROM
(
    SELECT 1 AS place, 'impressions watermark' AS source, min(impressions_watermark) AS newest_time,
        max(inserted_at) AS inserted_at
    FROM ledger HAVING count() > 0
    UNION ALL
    SELECT 2, 'clicks watermark', min(clicks_watermark), max(inserted_at) FROM ledger HAVING count() > 0
    UNION ALL
    -- Reads tables and not views, which have no inserted_at. Copies and older versions do not change what is newest.
    SELECT 3, 'minutes', max(minute)::DateTime64(3, 'UTC'), max(inserted_at) FROM minute_totals WHERE run = '' HAVING count() > 0
    UNION ALL
    SELECT 4, 'hours', max(hour)::DateTime64(3, 'UTC'), max(inserted_at) FROM hour_totals WHERE run = '' HAVING count() > 0
    UNION ALL
    SELECT 5, 'days', max(day)::DateTime64(3, 'UTC'), max(inserted_at) FROM day_totals WHERE run = '' HAVING count() > 0
    UNION ALL
    SELECT 6, 'outcomes', max(event_time), max(inserted_at) FROM outcome_rows WHERE run = '' HAVING count() > 0
    UNION ALL
    SELECT 7, 'pacing', max(event_time), max(inserted_at) FROM pacing_rows WHERE run = '' HAVING count() > 0
    UNION ALL
    SELECT 8, 'model_metrics', max(window_end), max(inserted_at) FROM model_metric_rows WHERE run = '' HAVING count() > 0
    UNION ALL
    SELECT 9, 'rejects', max(record_time), max(inserted_at) FROM reject_rows WHERE run = '' HAVING count() > 0
)
ORDER BY place
