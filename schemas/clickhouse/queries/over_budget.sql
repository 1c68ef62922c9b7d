-- Which campaigns spent more than a day's budget, on which of their own days, and by how much.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- first moment, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- first moment no longer included, UTC
-- param: campaign String '' -- only this campaign; empty: all
-- param: within Bool false -- also days on which the budget was kept
-- param: rows UInt32 1000 -- at most so many rows
-- chart: bar x=campaign_id,local_day y=over_micros -- spend above the day's budget
-- A day is the campaign's: from midnight to midnight in its time zone, by the minute of the click, quarter-hour zones and
-- days of 23 or 25 hours included. The budget is the one in force now; what it was on earlier days is not kept here.
-- A span that cuts a day shows what that day spent within it. Campaigns nobody announced have no budget and no row.
SELECT
    campaign_id,
    toDate(substring(toString(quarter, timezone), 1, 10)) AS local_day,
    timezone,
    currency,
    sum(spent) AS spend_micros,
    any(daily_budget_micros) AS budget_micros,
    spend_micros - budget_micros AS over_micros,
    if(budget_micros = 0, NULL, round(100 * over_micros / budget_micros, 2)) AS over_percent,
    sum(billed) AS clicks,
    min(settled) AS final
FROM
(
    -- Midnights of all time zones fall on quarter-hours of UTC.
    SELECT
        campaign_id,
        toStartOfFifteenMinutes(minute) AS quarter,
        sum(spend_micros) AS spent,
        sum(clicks) AS billed,
        min(final) AS settled
    FROM minutes
    WHERE minute >= {since:DateTime('UTC')} AND minute < {until:DateTime('UTC')}
        AND ({campaign:String} = '' OR campaign_id = {campaign:String})
    GROUP BY campaign_id, quarter
) AS quarters
INNER JOIN campaigns USING (campaign_id)
GROUP BY campaign_id, local_day, timezone, currency
HAVING over_micros > 0 OR {within:Bool}
ORDER BY over_micros DESC, local_day DESC, campaign_id
LIMIT {rows:UInt32}
