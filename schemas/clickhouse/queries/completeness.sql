-- Which hours, or minutes, are final: all minutes with data behind the watermarks of every join partition, none to change.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- first moment, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- first moment no longer included, UTC
-- param: step_minutes UInt32 60 -- length of a row: 60 is hours, 1 minutes, 1440 days
-- param: skew_ms UInt32 5000 -- the join's --skew
-- param: rows UInt32 1000 -- at most so many rows
-- chart: bar x=from_time y=passed_minutes -- minutes of each row behind the watermarks of all partitions
-- A total is marked final by its own partition. A partition that counted nothing yet for a minute has no total to mark,
-- so all partitions' watermarks must have passed the minute too: that of impressions by the skew, as an impression may
-- come after its click. A span without a ledger is never final; a partition that never reported is not waited for.
WITH (
    SELECT if(count() = 0, toDateTime64(0, 3, 'UTC'),
        least(min(impressions_watermark) - toIntervalMillisecond({skew_ms:UInt32}), min(clicks_watermark)))
    FROM ledger
) AS passed
SELECT
    toStartOfInterval(minute, toIntervalMinute(greatest({step_minutes:UInt32}, 1))) AS from_time,
    count() AS minutes,
    countIf(minute + INTERVAL 1 MINUTE <= passed) AS passed_minutes,
    sum(counted) AS totals,
    sum(settled) AS final_totals,
    (minutes = passed_minutes AND totals = final_totals)::Bool AS complete
FROM
(
    SELECT minute, count() AS counted, countIf(final) AS settled
    FROM minutes
    WHERE minute >= {since:DateTime('UTC')} AND minute < {until:DateTime('UTC')}
    GROUP BY minute
)
GROUP BY from_time
ORDER BY from_time DESC
LIMIT {rows:UInt32}
