-- How many impressions ended without a click, and how well the sample of them represents all.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- start, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- end, exclusive, UTC
-- param: campaign String '' -- only this campaign; empty: all
-- param: rows UInt32 1000 -- most rows to return
-- chart: bar x=campaign_id y=unclicked_percent -- share of impressions that ended without a click
-- Only minutes before the first one that is not final: there every impression is closed, clicked or not. unclicked is
-- from the totals and exact. kept is how many of them are outcomes, stands_for the sum of their weights. A hash of the
-- impression id decides which are kept, so the two differ by chance: off_sigma is the difference in standard deviations
-- (null: all are kept, or none). Beyond 4, look for missing outcomes: they are kept for 90 days after insertion.
WITH
    (SELECT if(countIf(NOT final) = 0, toDateTime('2100-01-01 00:00:00', 'UTC'), minIf(minute, NOT final)) FROM minutes) AS open_from,
    -- Totals are of whole minutes, so outcomes must be as well.
    toStartOfMinute({since:DateTime('UTC')} + INTERVAL 59 SECOND) AS from_time,
    least(toStartOfMinute({until:DateTime('UTC')} + INTERVAL 59 SECOND), open_from) AS to_time
SELECT
    campaign_id,
    sum(shown) AS impressions,
    sum(clicked) AS clicked_impressions,
    impressions - clicked_impressions AS unclicked,
    if(impressions = 0, NULL, round(100 * unclicked / impressions, 4)) AS unclicked_percent,
    sum(rows_kept) AS kept,
    round(sum(weights), 3) AS stands_for,
    if(sum(variance) = 0, NULL, round((sum(weights) - unclicked) / sqrt(sum(variance)), 2)) AS off_sigma
FROM
(
    SELECT campaign_id, sum(impressions) AS shown, sum(attributed_clicks) AS clicked, 0 AS rows_kept, 0. AS weights, 0. AS variance
    FROM minutes
    WHERE minute >= from_time AND minute < to_time
        AND ({campaign:String} = '' OR campaign_id = {campaign:String})
    GROUP BY campaign_id
    UNION ALL
    -- An outcome of weight w is kept with probability 1 / w.
    SELECT campaign_id, 0, 0, count(), sum(weight), sum(weight * (weight - 1))
    FROM outcomes
    WHERE kind = 'unclicked' AND event_time >= from_time AND event_time < to_time
        AND ({campaign:String} = '' OR campaign_id = {campaign:String})
    GROUP BY campaign_id
)
GROUP BY campaign_id
HAVING impressions > 0 OR kept > 0
ORDER BY impressions DESC, campaign_id
LIMIT {rows:UInt32}
