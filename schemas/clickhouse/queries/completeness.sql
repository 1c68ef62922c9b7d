-- Which hours are final: all minutes with data behind the watermarks of every join partition, none to change.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- first moment, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- first moment no longer included, UTC
-- param: rows UInt32 1000 -- at most so many rows
-- chart: bar x=hour y=passed_minutes -- minutes of each hour behind the watermarks of all partitions
-- A total is marked final by its own partition. A partition that counted nothing yet for a minute has no total to mark,
-- so the slowest watermark of all partitions must have passed the minute too; runs without a ledger are never final.
WITH (SELECT if(count() = 0, toDateTime64(0, 3, 'UTC'), min(least(impressions_watermark, clicks_watermark))) FROM ledger) AS passed
SELECT
    toStartOfHour(minute) AS hour,
    uniqExact(minute) AS minutes,
    uniqExactIf(minute, minute + INTERVAL 1 MINUTE <= passed) AS passed_minutes,
    count() AS totals,
    countIf(final) AS final_totals,
    (minutes = passed_minutes AND totals = final_totals)::Bool AS complete
FROM minutes
WHERE minute >= {since:DateTime('UTC')} AND minute < {until:DateTime('UTC')}
GROUP BY hour
ORDER BY hour DESC
LIMIT {rows:UInt32}
