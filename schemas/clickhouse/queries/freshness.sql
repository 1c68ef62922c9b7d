-- How far the data reach, and when the last of each arrived: watermarks of the join, totals, outcomes, pacing, models.
-- param: now DateTime('UTC') '1970-01-01 00:00:00' -- the moment ages are reckoned at, UTC; 1970: the server's clock
-- newest_time is event time, of the slowest partition for the two watermarks; behind_s is how long before now that was.
-- inserted_at is the server's clock; hours and days are rolled up every minute, where something came. Newest times of
-- minutes, hours and days are their beginnings. Live work only. What has no rows yet is left out.
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
    -- The tables and not their views: views leave inserted_at out, and the newest is the newest in whatever copy.
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
