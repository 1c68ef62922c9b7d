-- How far the data reach: watermarks, last commit and newest minute, and how long ago that was.
-- One row, also when there is nothing: then times are 1970.
SELECT
    (SELECT max(minute) FROM minutes) AS newest_minute,
    min(impressions_watermark) AS impressions_watermark,
    min(clicks_watermark) AS clicks_watermark,
    count() AS join_partitions,
    max(committed_at) AS committed_at,
    dateDiff('second', committed_at, now64(3, 'UTC')) AS committed_ago_s,
    dateDiff('second', least(impressions_watermark, clicks_watermark), now64(3, 'UTC')) AS event_time_behind_s
FROM ledger
