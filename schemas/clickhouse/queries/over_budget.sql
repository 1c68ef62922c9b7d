-- Which campaigns spent more than the budget of a day, on which of their local days, and how much more.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- start, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- end, exclusive, UTC
-- param: campaign String '' -- only this campaign; empty: all
-- param: within Bool false -- also days on which the budget was kept
-- param: rows UInt32 1000 -- most rows to return
-- chart: bar x=campaign_id,local_day y=over_micros -- spend above the day's budget
-- A day is local: from midnight to midnight in the campaign's time zone, by the minute of the click, also in zones with
-- quarter-hours and on days of 23 or 25 hours. The budget of a day is the highest that was in force at any time of it,
-- by campaign_history; budgets is how many were. A day before the first budget is judged by the first, and a campaign
-- that was withdrawn has the budget 0. Where the range starts or ends within a day, only the spend within the range is
-- shown. Campaigns that were not announced have no budget and no row. Days are those of the time zone that a campaign
-- has now. Where ClickHouse does not know that zone, zone_known is false and the days are those of UTC.
WITH announced AS
(
    SELECT
        campaign_id,
        timezone,
        currency,
        (timezone IN (SELECT time_zone FROM system.time_zones))::Bool AS zone_known,
        -- A time zone that ClickHouse does not know is an error of the whole query, for all campaigns.
        if(zone_known, timezone, 'UTC') AS zone
    FROM campaigns
    WHERE {campaign:String} = '' OR campaign_id = {campaign:String}
),
changes AS
(
    -- Each budget with the first and the last local day on which it was in force.
    SELECT
        campaign_id,
        groupArray((
            if(number = 1, toDate(0), toDate(substring(toString(toDateTime(in_force_from, 'UTC'), zone), 1, 10))),
            if(
                in_force_until IS NULL,
                toDate(65535),
                toDate(substring(toString(toDateTime(ifNull(in_force_until, in_force_from), 'UTC'), zone), 1, 10))
            ),
            daily_budget_micros
        )) AS spans
    FROM campaign_history
    INNER JOIN announced USING (campaign_id)
    GROUP BY campaign_id
),
spent_days AS
(
    SELECT
        campaign_id,
        toDate(substring(toString(quarter, zone), 1, 10)) AS local_day,
        timezone,
        zone_known,
        currency,
        sum(spent) AS spend_micros,
        sum(billed) AS clicks,
        min(settled) AS final
    FROM
    (
        -- Midnights of all time zones fall on quarter-hours of UTC.
        SELECT
            campaign_id,
            toStartOfFifteenMinutes(minute) AS quarter,
            sum(minutes.spend_micros) AS spent,
            sum(minutes.clicks) AS billed,
            min(minutes.final) AS settled
        FROM minutes
        WHERE minute >= {since:DateTime('UTC')} AND minute < {until:DateTime('UTC')}
            AND ({campaign:String} = '' OR campaign_id = {campaign:String})
        GROUP BY campaign_id, quarter
    ) AS quarters
    INNER JOIN announced USING (campaign_id)
    GROUP BY campaign_id, local_day, timezone, zone_known, currency
)
SELECT
    campaign_id,
    local_day,
    timezone,
    zone_known,
    currency,
    spend_micros,
    arrayMax(arrayMap(span -> span.3, arrayFilter(span -> span.1 <= local_day AND local_day <= span.2, spans)))
        AS budget_micros,
    arrayCount(span -> span.1 <= local_day AND local_day <= span.2, spans) AS budgets,
    spend_micros - budget_micros AS over_micros,
    if(budget_micros = 0, NULL, round(100 * over_micros / budget_micros, 2)) AS over_percent,
    clicks,
    final
FROM spent_days
INNER JOIN changes USING (campaign_id)
WHERE over_micros > 0 OR {within:Bool}
ORDER BY over_micros DESC, local_day DESC, campaign_id
LIMIT {rows:UInt32}
