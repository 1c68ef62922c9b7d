-- Spend, clicks and impressions for each campaign and UTC day, and the cost of a click and of 1,000 impressions.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- start, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- end, exclusive, UTC
-- param: campaign String '' -- only this campaign; empty: all
-- param: rows UInt32 1000 -- most rows to return
-- chart: line x=day y=spend_micros by=campaign_id -- spend of each campaign by day
-- Days that start within the range, from the roll-ups, which are up to about a minute behind. clicks and spend_micros
-- are by the day of the click; ctr and per_mille_micros by the day of the impression, whenever it was clicked. For
-- local days in a campaign's time zone ask over_budget with within=true.
SELECT
    day,
    campaign_id,
    sum(days.impressions) AS impressions,
    sum(days.attributed_clicks) AS attributed_clicks,
    if(impressions = 0, NULL, round(attributed_clicks / impressions, 6)) AS ctr,
    sum(days.clicks) AS clicks,
    sum(days.spend_micros) AS spend_micros,
    if(clicks = 0, NULL, round(spend_micros / clicks)) AS per_click_micros,
    if(impressions = 0, NULL, round(1000 * sum(days.attributed_spend_micros) / impressions)) AS per_mille_micros,
    min(days.final) AS final
FROM days
WHERE day::DateTime('UTC') >= {since:DateTime('UTC')} AND day::DateTime('UTC') < {until:DateTime('UTC')}
    AND ({campaign:String} = '' OR campaign_id = {campaign:String})
GROUP BY day, campaign_id
ORDER BY day DESC, campaign_id
LIMIT {rows:UInt32}
