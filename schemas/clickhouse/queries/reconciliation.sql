-- Whether hours, days and outcomes add up to the minutes, by day or hour; only differences unless asked for all.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- start, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- end, exclusive, UTC
-- param: campaign String '' -- only this campaign; empty: all
-- param: step String 'day' -- day or hour
-- param: agreeing Bool false -- also rows without a difference
-- param: rows UInt32 1000 -- most rows to return
-- Whole UTC days or hours that the range touches. difference is in_source minus in_minutes and should be 0. final says
-- that none of the minute totals can change any more; null means that there are none.
-- Differences that are no error: hours and days are up to about a minute behind, so the newest may be incomplete; the
-- sink writes outcomes and totals one after the other; outcomes are deleted 90 days after insertion; where a promoted
-- run begins or ends, the outcome of a click belongs to the time of its impression and the total to the minute of the
-- click; a join with fewer --dimensions may have totals without a campaign, so leave --campaign out. Impressions are
-- not compared with outcomes, which keep a sample of them.
WITH
    throwIf({step:String} NOT IN ('day', 'hour'), 'step is neither day nor hour') AS refused,
    if({step:String} = 'day', 86400, 3600) AS step_s,
    intDiv(toUnixTimestamp({since:DateTime('UTC')}), step_s) * step_s AS from_s,
    intDiv(toUnixTimestamp({until:DateTime('UTC')}) + step_s - 1, step_s) * step_s AS to_s,
    [0, 0, 0, 0, 0, 0]::Array(Int64) AS none
SELECT
    toDateTime(step_start, 'UTC') AS from_time,
    source,
    measure,
    in_source,
    in_minutes,
    in_source - in_minutes AS difference,
    settled AS final
FROM
(
    SELECT
        step_start,
        source,
        sumForEach(source_sums) AS sums_of_source,
        sumForEach(minute_sums) AS sums_of_minutes,
        min(final) AS settled
    FROM
    (
        SELECT
            intDiv(toUnixTimestamp(minute), step_s) * step_s AS step_start,
            arrayJoin(if(step_s = 3600, ['hours', 'outcomes'], ['hours', 'days', 'outcomes'])) AS source,
            none AS source_sums,
            [sum(impressions), sum(attributed_clicks), sum(attributed_spend_micros), sum(clicks), sum(repeats),
                sum(spend_micros)] AS minute_sums,
            toNullable(min(final)) AS final
        FROM minutes
        WHERE minute >= toDateTime(from_s, 'UTC') AND minute < toDateTime(to_s, 'UTC') AND refused = 0
            AND ({campaign:String} = '' OR campaign_id = {campaign:String})
        GROUP BY step_start
        UNION ALL
        SELECT
            intDiv(toUnixTimestamp(hour), step_s) * step_s AS step_start,
            'hours',
            [sum(impressions), sum(attributed_clicks), sum(attributed_spend_micros), sum(clicks), sum(repeats),
                sum(spend_micros)],
            none,
            NULL
        FROM hours
        WHERE hour >= toDateTime(from_s, 'UTC') AND hour < toDateTime(to_s, 'UTC')
            AND ({campaign:String} = '' OR campaign_id = {campaign:String})
        GROUP BY step_start
        UNION ALL
        SELECT
            toUnixTimestamp(day::DateTime('UTC')) AS step_start,
            'days',
            [sum(impressions), sum(attributed_clicks), sum(attributed_spend_micros), sum(clicks), sum(repeats),
                sum(spend_micros)],
            none,
            NULL
        FROM days
        WHERE step_s = 86400 AND day >= toDate(toDateTime(from_s, 'UTC')) AND day < toDate(toDateTime(to_s, 'UTC'))
            AND ({campaign:String} = '' OR campaign_id = {campaign:String})
        GROUP BY step_start
        UNION ALL
        -- A billable click counts at two times: that of its impression and its own.
        SELECT
            intDiv(toUnixTimestamp(counted.1), step_s) * step_s AS step_start,
            'outcomes',
            [0::Int64, countIf(counted.2 = 'attributed')::Int64, sumIf(price_micros, counted.2 = 'attributed'),
                countIf(counted.2 = 'billed')::Int64, countIf(counted.2 = 'repeat')::Int64,
                sumIf(price_micros, counted.2 = 'billed')],
            none,
            NULL
        FROM clicks
        ARRAY JOIN if(kind = 'click', [(event_time, 'attributed'), (click_time, 'billed')], [(click_time, 'repeat')]) AS counted
        WHERE counted.1 >= toDateTime(from_s, 'UTC') AND counted.1 < toDateTime(to_s, 'UTC')
            AND ({campaign:String} = '' OR campaign_id = {campaign:String})
        GROUP BY step_start
    )
    GROUP BY step_start, source
)
ARRAY JOIN
    ['impressions', 'attributed_clicks', 'attributed_spend_micros', 'clicks', 'repeats', 'spend_micros'] AS measure,
    sums_of_source AS in_source,
    sums_of_minutes AS in_minutes
WHERE (source != 'outcomes' OR measure != 'impressions') AND ({agreeing:Bool} OR difference != 0)
ORDER BY step_start DESC, source, measure
LIMIT {rows:UInt32}
