-- Creatives by spend, with their click-through rate.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- first moment, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- first moment no longer included, UTC
-- param: campaign String '' -- only this campaign; empty: all
-- param: impressions UInt64 1 -- leave out creatives shown less often
-- param: rows UInt32 20 -- at most so many rows
-- chart: bar x=campaign_id,creative_id y=attributed_spend_micros -- spend on each creative
SELECT
    campaign_id,
    creative_id,
    sum(minutes.impressions) AS impressions,
    sum(minutes.attributed_clicks) AS attributed_clicks,
    round(attributed_clicks / impressions, 6) AS ctr,
    sum(minutes.attributed_spend_micros) AS attributed_spend_micros
FROM minutes
WHERE minute >= {since:DateTime('UTC')} AND minute < {until:DateTime('UTC')}
    AND ({campaign:String} = '' OR campaign_id = {campaign:String})
GROUP BY campaign_id, creative_id
HAVING impressions >= {impressions:UInt64}
ORDER BY attributed_spend_micros DESC, ctr DESC, campaign_id, creative_id
LIMIT {rows:UInt32}
