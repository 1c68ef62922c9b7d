-- Counts of each arm of each experiment, with what its predictions promised.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- first moment, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- first moment no longer included, UTC
-- param: experiment String '' -- only this experiment; empty: all
-- Attributed measures only: an arm owns its impressions, and what they led to whenever it came.
SELECT
    experiment,
    arm,
    sum(impressions) AS impressions,
    sum(attributed_clicks) AS attributed_clicks,
    round(attributed_clicks / impressions, 6) AS ctr,
    round(sum(expected_clicks_nano) / 1e9, 3) AS expected_clicks,
    sum(attributed_spend_micros) AS attributed_spend_micros,
    min(final) AS final
FROM minutes
WHERE minute >= {since:DateTime('UTC')} AND minute < {until:DateTime('UTC')} AND experiment != ''
    AND ({experiment:String} = '' OR experiment = {experiment:String})
GROUP BY experiment, arm
ORDER BY experiment, arm
