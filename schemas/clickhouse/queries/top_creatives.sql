-- Creatives by spend, with their click-through rate and its interval.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- start, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- end, exclusive, UTC
-- param: campaign String '' -- only this campaign; empty: all
-- param: impressions UInt64 1 -- leave out creatives with fewer impressions
-- param: z Float64 1.959963984540054 -- width of the interval: 1.96 for 95 %, 2.5758 for 99 %, 1.6449 for 90 %
-- param: order String 'spend' -- spend, or ctr_low: the surest good rates first
-- param: rows UInt32 20 -- most rows to return
-- chart: points x=campaign_id,creative_id y=ctr low=ctr_low high=ctr_high unit=% -- click-through rate of each creative with its interval
-- ctr_low and ctr_high are Wilson's score interval: the range in which the true rate may be. It is wide for a creative
-- that was shown a few times, so ordered by ctr_low a lucky newcomer does not come before a proven creative.
-- Clicks and spend are those of the impressions in the range, whenever they were clicked. Impressions that may still be
-- clicked are counted, so the rate still grows while the range is not final.
WITH
    {z:Float64} AS z,
    throwIf({order:String} NOT IN ('spend', 'ctr_low'), 'order is neither spend nor ctr_low') AS refused
SELECT
    campaign_id,
    creative_id,
    shown AS impressions,
    clicked AS attributed_clicks,
    round(clicked / shown, 6) AS ctr,
    round((clicked + z * z / 2 - half) / (shown + z * z), 6) AS ctr_low,
    round((clicked + z * z / 2 + half) / (shown + z * z), 6) AS ctr_high,
    spent AS attributed_spend_micros
FROM
(
    SELECT
        campaign_id,
        creative_id,
        sum(impressions) AS shown,
        sum(attributed_clicks) AS clicked,
        sum(attributed_spend_micros) AS spent,
        z * sqrt(clicked * (shown - clicked) / shown + z * z / 4) AS half
    FROM minutes
    WHERE minute >= {since:DateTime('UTC')} AND minute < {until:DateTime('UTC')}
        AND ({campaign:String} = '' OR campaign_id = {campaign:String}) AND refused = 0
    GROUP BY campaign_id, creative_id
    HAVING shown >= greatest({impressions:UInt64}, 1)
)
ORDER BY
    if({order:String} = 'spend', attributed_spend_micros, 0) DESC,
    if({order:String} = 'spend', ctr, ctr_low) DESC,
    campaign_id,
    creative_id
LIMIT {rows:UInt32}
