-- How long after the impression clicks come: quantiles for each campaign, most clicks first.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- start, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- end, exclusive, UTC
-- param: campaign String '' -- only this campaign; empty: all
-- param: rows UInt32 1000 -- most rows to return
-- chart: points x=campaign_id y=median_ms low=shortest_ms high=p90_ms -- delay of clicks: shortest, median and 90 % quantile
-- By the time of the impression. Delays are negative where clocks disagree.
SELECT
    campaign_id,
    count() AS clicks,
    min(delay_ms) AS shortest_ms,
    quantileExact(0.5)(delay_ms) AS median_ms,
    quantileExact(0.9)(delay_ms) AS p90_ms,
    quantileExact(0.99)(delay_ms) AS p99_ms,
    max(delay_ms) AS longest_ms
FROM clicks
WHERE kind = 'click' AND event_time >= {since:DateTime('UTC')} AND event_time < {until:DateTime('UTC')}
    AND ({campaign:String} = '' OR campaign_id = {campaign:String})
GROUP BY campaign_id
ORDER BY clicks DESC, campaign_id
LIMIT {rows:UInt32}
