-- How far the data reach: watermarks, newest minute and last news of the join, and how long ago that was.
-- One row, also when there is nothing: then times are 1970.
SELECT
    (SELECT max(minute) FROM minutes) AS newest_minute,
    min(impressions_watermark) AS impressions_watermark,
    min(clicks_watermark) AS clicks_watermark,
    count() AS join_partitions,
    max(inserted_at) AS inserted_at,
    dateDiff('second', inserted_at, now('UTC')) AS inserted_ago_s,
    dateDiff('second', least(impressions_watermark, clicks_watermark), now64(3, 'UTC')) AS event_time_behind_s
FROM ledger
