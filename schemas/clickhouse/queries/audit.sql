-- Which share of the records was late, duplicate, rejected, an orphan or a repeat, by join partition and in all.
-- chart: bar x=join_partition,input y=counted_percent -- records that are counted
-- From the ledger, so since its first record. Percentages are of all records of the input. orphan, repeat and pending
-- apply to clicks only; lost is what --accept-loss left out. counted is the rest: impressions that were accepted,
-- clicks that are billed.
-- Look at a partition that differs from the others: a producer with another partitioner causes orphans.
SELECT
    if(part < 0, 'all', toString(part)) AS join_partition,
    input,
    sum(fates.1) AS consumed,
    if(consumed = 0, NULL, round(100 * sum(fates.2) / consumed, 4)) AS late_percent,
    if(consumed = 0, NULL, round(100 * sum(fates.3) / consumed, 4)) AS duplicate_percent,
    if(consumed = 0, NULL, round(100 * sum(fates.4) / consumed, 4)) AS rejected_percent,
    if(consumed = 0, NULL, round(100 * sum(fates.5) / consumed, 4)) AS orphan_percent,
    if(consumed = 0, NULL, round(100 * sum(fates.6) / consumed, 4)) AS repeat_percent,
    if(consumed = 0, NULL, round(100 * sum(fates.7) / consumed, 4)) AS pending_percent,
    if(consumed = 0, NULL, round(100 * sum(fates.8) / consumed, 4)) AS lost_percent,
    if(consumed = 0, NULL, round(100 * sum(fates.9) / consumed, 4)) AS counted_percent
FROM
(
    SELECT
        arrayJoin([-1, toInt64(ledger.join_partition)]) AS part,
        arrayJoin([
            ('impressions', (impressions_consumed, impressions_late, impressions_duplicate, impressions_rejected,
                0, 0, 0, lost_impressions, impressions_accepted - lost_impressions)),
            ('clicks', (clicks_consumed, clicks_late, clicks_duplicate, clicks_rejected,
                orphan, repeat, pending, lost_clicks, billable))
        ]) AS one,
        one.1 AS input,
        one.2 AS fates
    FROM ledger
)
GROUP BY part, input
ORDER BY part, input DESC
