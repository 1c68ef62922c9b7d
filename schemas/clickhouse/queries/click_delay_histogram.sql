-- How long after the impression clicks come: the number of clicks in each range of delays.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- start, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- end, exclusive, UTC
-- param: campaign String '' -- only this campaign; empty: all
-- param: edges_ms Array(Int64) '[0,100,200,500,1000,2000,5000,10000,20000,60000,120000,300000,600000,1200000,1800000,3600000]' -- where one row ends and the next begins
-- chart: bar x=from_ms,to_ms y=clicks -- billable clicks by their delay
-- Billable clicks, by the time of their impression. A row counts delays from from_ms up to, but not including, to_ms;
-- null means no limit. Below 0 the click came first: clocks disagree, within the skew that the join allows. Late clicks
-- of recent impressions are still to come.
WITH arraySort(arrayDistinct({edges_ms:Array(Int64)})) AS edges
SELECT
    if(bin = 0, NULL, edges[bin]) AS from_ms,
    if(bin = length(edges), NULL, edges[bin + 1]) AS to_ms,
    found AS clicks,
    round(found / sum(found) OVER (), 6) AS share,
    round(sum(found) OVER (ORDER BY bin) / sum(found) OVER (), 6) AS cumulative_share
FROM
(
    -- A row for each bin, also for bins without clicks; but no rows when there are no clicks at all.
    SELECT bin, sum(found) AS found
    FROM
    (
        SELECT arrayCount(edge -> edge <= delay_ms, edges) AS bin, count() AS found
        FROM clicks
        WHERE kind = 'click' AND event_time >= {since:DateTime('UTC')} AND event_time < {until:DateTime('UTC')}
            AND ({campaign:String} = '' OR campaign_id = {campaign:String})
        GROUP BY bin
        UNION ALL
        SELECT arrayJoin(range(length(edges) + 1)), 0
    )
    GROUP BY bin
)
QUALIFY sum(found) OVER () > 0
ORDER BY bin
