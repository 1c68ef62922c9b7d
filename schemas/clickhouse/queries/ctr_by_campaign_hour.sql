-- Impressions, clicks, click-through rate and spend for each campaign and hour, newest first.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- start, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- end, exclusive, UTC
-- param: campaign String '' -- only this campaign; empty: all
-- param: rows UInt32 1000 -- most rows to return
-- chart: line x=hour y=ctr by=campaign_id unit=% -- click-through rate of each campaign, by hour of the impression
-- The rate is that of the impressions of the hour, whenever they were clicked; clicks and spend are by the hour of the
-- click.
SELECT
    toStartOfHour(minute) AS hour,
    campaign_id,
    sum(impressions) AS impressions,
    sum(attributed_clicks) AS attributed_clicks,
    if(impressions = 0, NULL, round(attributed_clicks / impressions, 6)) AS ctr,
    sum(clicks) AS clicks,
    sum(spend_micros) AS spend_micros,
    min(final) AS final
FROM minutes
WHERE minute >= {since:DateTime('UTC')} AND minute < {until:DateTime('UTC')}
    AND ({campaign:String} = '' OR campaign_id = {campaign:String})
GROUP BY hour, campaign_id
ORDER BY hour DESC, campaign_id
LIMIT {rows:UInt32}
