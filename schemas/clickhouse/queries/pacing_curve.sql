-- Spend against plan during a campaign's day, step by step, and the share of auctions it enters.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- start, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- end, exclusive, UTC
-- param: campaign String '' -- only this campaign; empty: all
-- param: step_minutes UInt32 15 -- minutes from one row to the next
-- param: rows UInt32 10000 -- most rows to return
-- chart: line x=step y=spend_percent by=campaign_id -- spend of each campaign in percent of its day's budget
-- A row is the last decision of its step; spend and plan are of the day so far. Steps start at the campaign's local
-- midnight, day_start. A step without a decision has no row. Percentages are null where the budget is 0.
SELECT
    campaign_id,
    day_start,
    step,
    last.1 AS spend_micros,
    last.2 AS plan_micros,
    last.3 AS budget_micros,
    if(budget_micros = 0, NULL, round(100 * spend_micros / budget_micros, 2)) AS spend_percent,
    if(budget_micros = 0, NULL, round(100 * plan_micros / budget_micros, 2)) AS plan_percent,
    round(last.4, 4) AS admit,
    last.5 AS state,
    round(last.6, 4) AS bid_multiplier
FROM
(
    WITH greatest({step_minutes:UInt32}, 1) AS every
    SELECT
        campaign_id,
        day_start,
        toDateTime(day_start, 'UTC') + toIntervalMinute(intDiv(dateDiff('minute', day_start, event_time), every) * every) AS step,
        argMax((spend_micros, plan_micros, budget_micros, admit, state, bid_multiplier), event_time) AS last
    FROM pacing_minutes
    WHERE minute >= {since:DateTime('UTC')} AND minute < {until:DateTime('UTC')}
        AND ({campaign:String} = '' OR campaign_id = {campaign:String})
    GROUP BY campaign_id, day_start, step
    ORDER BY day_start DESC, campaign_id, step
    LIMIT {rows:UInt32}
)
ORDER BY day_start DESC, campaign_id, step
