-- Which campaigns spent more than the budget of a day, on which of their local days, and how much more.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- start, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- end, exclusive, UTC
-- param: campaign String '' -- only this campaign; empty: all
-- param: within Bool false -- also days on which the budget was kept
-- param: rows UInt32 1000 -- most rows to return
-- chart: bar x=campaign_id,local_day y=over_micros -- spend above the day's budget
-- A day is local: from midnight to midnight in the campaign's time zone, by the minute of the click, also in zones with
-- quarter-hours and on days of 23 or 25 hours. The budget is the current one; earlier budgets are not kept here. Where
-- the range starts or ends within a day, only the spend within the range is shown. Campaigns that were not announced
-- have no budget and no row. Where ClickHouse does not know the campaign's time zone, zone_known is false and the days
-- are those of UTC.
SELECT
    campaign_id,
    -- A time zone that ClickHouse does not know is an error of the whole query, for all campaigns.
    toDate(substring(toString(quarter, if(zone_known, timezone, 'UTC')), 1, 10)) AS local_day,
    timezone,
    (timezone IN (SELECT time_zone FROM system.time_zones))::Bool AS zone_known,
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
GROUP BY campaign_id, local_day, timezone, zone_known, currency
HAVING over_micros > 0 OR {within:Bool}
ORDER BY over_micros DESC, local_day DESC, campaign_id
LIMIT {rows:UInt32}
