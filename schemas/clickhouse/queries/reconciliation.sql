-- Whether hours, days and outcomes add up to the minutes: by day or hour, differences only unless asked.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- first moment, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- first moment no longer included, UTC
-- param: campaign String '' -- only this campaign; empty: all
-- param: step String 'day' -- day or hour
-- param: agreeing Bool false -- also what agrees
-- param: rows UInt32 1000 -- at most so many rows
-- Whole days or hours of UTC that the span touches. difference is in_source less in_minutes and expected to be 0; final
-- says that none of the step's minute totals can change, null that there are none.
-- Reasons that are no error: hours and days are at most about a minute behind, so the newest may lack something; the sink
-- writes outcomes and totals one after the other; outcomes are dropped 90 days after insertion; where a promoted run
-- begins or ends, the outcome of a click goes with its impression, the total with the minute of the click; a join with
-- fewer --dimensions may have totals without a campaign, then leave the campaign out. Impressions are not held against
-- outcomes, which keep a sample of them.
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
        -- A billable click counts at two times: its impression's and its own.
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
