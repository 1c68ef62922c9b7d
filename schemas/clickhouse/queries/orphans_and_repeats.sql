-- Clicks that were not billed, by hour of the click: orphans and repeats, and their share.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- start, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- end, exclusive, UTC
-- param: join_partition Int64 -1 -- only this partition of the join; -1: all
-- param: rows UInt32 1000 -- most rows to return
-- chart: line x=hour y=unbilled_percent -- share of clicks that are orphans or repeats
-- From outcomes, which are kept for 90 days after insertion. A click becomes an orphan once its impression can no
-- longer come, so the newest hour has too few. Late, duplicate and rejected clicks are not outcomes: see the queries
-- audit and rejects.
SELECT
    toStartOfHour(click_time) AS hour,
    count() AS clicks,
    countIf(kind = 'click') AS billable,
    countIf(kind = 'orphan') AS orphans,
    countIf(kind = 'repeat') AS repeats,
    round(100 * orphans / clicks, 4) AS orphan_percent,
    round(100 * repeats / clicks, 4) AS repeat_percent,
    round(100 * (orphans + repeats) / clicks, 4) AS unbilled_percent,
    uniqExactIf(join_partition, kind = 'orphan') AS orphan_partitions
FROM outcomes
WHERE kind != 'unclicked' AND click_time >= {since:DateTime('UTC')} AND click_time < {until:DateTime('UTC')}
    AND ({join_partition:Int64} < 0 OR outcomes.join_partition = {join_partition:Int64})
GROUP BY hour
ORDER BY hour DESC
LIMIT {rows:UInt32}
