-- How far the data reach: watermarks, newest minute and last news of the join, and how long ago that was.
-- param: now DateTime('UTC') '1970-01-01 00:00:00' -- the moment ages are reckoned at, UTC; 1970: the server's clock
-- One row, also when there is nothing: then times are 1970.
WITH if({now:DateTime('UTC')} = toDateTime(0, 'UTC'), now('UTC'), {now:DateTime('UTC')}) AS moment
SELECT
    (SELECT max(minute) FROM minutes) AS newest_minute,
    min(impressions_watermark) AS impressions_watermark,
    min(clicks_watermark) AS clicks_watermark,
    count() AS join_partitions,
    max(inserted_at) AS inserted_at,
    dateDiff('second', inserted_at, moment) AS inserted_ago_s,
    dateDiff('second', least(impressions_watermark, clicks_watermark), moment) AS event_time_behind_s
FROM ledger
