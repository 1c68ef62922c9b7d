-- Which hours, or minutes, are final: every watermark has passed them, and no total can change any more.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- start, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- end, exclusive, UTC
-- param: step_minutes UInt32 60 -- minutes of a row: 60 for hours, 1 for minutes, 1440 for days
-- param: skew_ms UInt32 5000 -- --skew of the join
-- param: rows UInt32 1000 -- most rows to return
-- chart: bar x=from_time y=passed_minutes -- minutes of each row that the watermarks of all partitions have passed
-- Each join partition marks its own totals as final. A partition that has counted nothing in a minute has no total to
-- mark, so the watermarks of all partitions must also have passed the minute; the one of impressions by the skew in
-- addition, because an impression may come after its click. Without a ledger nothing is final. A partition that has
-- never reported is not waited for.
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
