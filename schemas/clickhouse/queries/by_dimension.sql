-- Impressions, clicks and spend for each name in one dimension, which may be an extra one.
-- param: by Identifier 'placement' -- advertiser_id, campaign_id, creative_id, placement, country, device, experiment, arm, or an extra dimension
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- start, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- end, exclusive, UTC
-- param: campaign String '' -- only this campaign; empty: all
-- param: rows UInt32 1000 -- most rows to return
-- chart: bar x=name y=spend_micros -- spend of each name
-- Hours that start within the range, from the roll-ups, which are up to about a minute behind. An empty name: the
-- impression has none, or it was shown before an extra dimension was added. ctr is by the hour of the impression, clicks
-- and spend_micros by that of the click.
SELECT
    {by:Identifier} AS name,
    sum(hours.impressions) AS impressions,
    sum(hours.attributed_clicks) AS attributed_clicks,
    if(impressions = 0, NULL, round(attributed_clicks / impressions, 6)) AS ctr,
    sum(hours.clicks) AS clicks,
    sum(hours.spend_micros) AS spend_micros
FROM hours
WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
    AND ({campaign:String} = '' OR campaign_id = {campaign:String})
GROUP BY name
ORDER BY spend_micros DESC, impressions DESC, name
LIMIT {rows:UInt32}
