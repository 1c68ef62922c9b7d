-- Spend against plan and budget: the latest decision on each campaign, furthest from its plan first.
-- param: campaign String '' -- only this campaign; empty: all
-- param: rows UInt32 1000 -- most rows to return
-- chart: bar x=campaign_id y=budget_percent by=state -- share of the day's budget that is spent
SELECT
    campaign_id,
    state,
    round(admit, 4) AS admit,
    round(bid_multiplier, 4) AS bid_multiplier,
    spend_micros,
    in_flight_micros,
    plan_micros,
    budget_micros,
    spend_micros - plan_micros AS over_plan_micros,
    if(budget_micros = 0, NULL, round(100 * spend_micros / budget_micros, 2)) AS budget_percent,
    impressions,
    clicks,
    day_start,
    event_time,
    reason
FROM pacing
WHERE {campaign:String} = '' OR campaign_id = {campaign:String}
ORDER BY abs(over_plan_micros) DESC, campaign_id
LIMIT {rows:UInt32}
