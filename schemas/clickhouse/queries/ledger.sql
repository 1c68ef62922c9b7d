-- What became of every record, for each join partition, and whether the counts add up.
SELECT
    join_partition,
    (impressions_consumed = impressions_accepted + impressions_late + impressions_duplicate + impressions_rejected
            + impressions_held
        AND clicks_consumed = clicks_accepted + clicks_late + clicks_duplicate + clicks_rejected + clicks_held
        AND impressions_accepted = open + closed + lost_impressions
        AND clicks_accepted = billable + repeat + orphan + pending + lost_clicks)::Bool AS balances,
    impressions_consumed,
    impressions_accepted,
    impressions_late,
    impressions_duplicate,
    impressions_rejected,
    impressions_held,
    open,
    closed,
    unclicked,
    clicks_consumed,
    clicks_accepted,
    clicks_late,
    clicks_duplicate,
    clicks_rejected,
    clicks_held,
    billable,
    repeat,
    orphan,
    pending,
    lost_impressions,
    lost_clicks,
    impressions_redriven,
    clicks_redriven
FROM ledger
ORDER BY join_partition
