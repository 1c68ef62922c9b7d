-- Whether anything is counted twice: rows in each table, rows that are valid, and keys that a view shows twice.
-- param: hours UInt32 1 -- look at this many of the newest hours, by event time; campaigns and ledger are read as a whole
-- Kafka may deliver a row again, and a newer version replaces an older one. held_rows are all rows, of all runs.
-- distinct_rows are left when copies and older versions are merged. waiting_rows is the difference: merges will remove
-- them, and that is not an error. Views merge while they read. shown_twice counts rows of a view whose key it shows
-- already; it must be 0.
WITH
    (SELECT max(minute) - toIntervalHour({hours:UInt32}) FROM minute_totals) AS totals_from,
    (SELECT max(hour) - toIntervalHour({hours:UInt32}) FROM hour_totals) AS hours_from,
    (SELECT max(day) - toIntervalHour({hours:UInt32}) FROM day_totals) AS days_from,
    (SELECT max(event_time) - toIntervalHour({hours:UInt32}) FROM outcome_rows) AS outcomes_from,
    (SELECT max(minute) - toIntervalHour({hours:UInt32}) FROM pacing_rows) AS pacing_from,
    (SELECT max(window_start) - toIntervalHour({hours:UInt32}) FROM model_metric_rows) AS metrics_from,
    (SELECT max(record_time) - toIntervalHour({hours:UInt32}) FROM reject_rows) AS rejects_from
SELECT
    table_name,
    view_name,
    held_rows,
    distinct_rows,
    held_rows - distinct_rows AS waiting_rows,
    shown.1 AS shown_rows,
    shown.1 - shown.2 AS shown_twice
FROM
(
    SELECT
        'minute_totals' AS table_name,
        'minutes' AS view_name,
        (SELECT count() FROM minute_totals WHERE minute >= totals_from) AS held_rows,
        (SELECT count() FROM minute_totals FINAL WHERE minute >= totals_from) AS distinct_rows,
        (SELECT (count(), uniqExact(minute, advertiser_id, campaign_id, creative_id, placement, country, device,
            experiment, arm, join_partition)) FROM minutes WHERE minute >= totals_from) AS shown
    UNION ALL
    SELECT
        'hour_totals',
        'hours',
        (SELECT count() FROM hour_totals WHERE hour >= hours_from),
        (SELECT count() FROM hour_totals FINAL WHERE hour >= hours_from),
        (SELECT (count(), uniqExact(hour, advertiser_id, campaign_id, creative_id, placement, country, device, experiment,
            arm)) FROM hours WHERE hour >= hours_from)
    UNION ALL
    SELECT
        'day_totals',
        'days',
        (SELECT count() FROM day_totals WHERE day >= days_from),
        (SELECT count() FROM day_totals FINAL WHERE day >= days_from),
        (SELECT (count(), uniqExact(day, advertiser_id, campaign_id, creative_id, placement, country, device, experiment,
            arm)) FROM days WHERE day >= days_from)
    UNION ALL
    SELECT
        'outcome_rows',
        'outcomes',
        (SELECT count() FROM outcome_rows WHERE event_time >= outcomes_from),
        (SELECT count() FROM outcome_rows FINAL WHERE event_time >= outcomes_from),
        (SELECT (count(), uniqExact(event_time, campaign_id, impression_id, click_id, click_time))
            FROM outcomes WHERE event_time >= outcomes_from)
    UNION ALL
    SELECT
        'pacing_rows',
        'pacing_minutes',
        (SELECT count() FROM pacing_rows WHERE minute >= pacing_from),
        (SELECT count() FROM pacing_rows FINAL WHERE minute >= pacing_from),
        (SELECT (count(), uniqExact(campaign_id, minute)) FROM pacing_minutes WHERE minute >= pacing_from)
    UNION ALL
    SELECT
        'model_metric_rows',
        'model_metrics',
        (SELECT count() FROM model_metric_rows WHERE window_start >= metrics_from),
        (SELECT count() FROM model_metric_rows FINAL WHERE window_start >= metrics_from),
        (SELECT (count(), uniqExact(model, slice, window_start, window_end, shard))
            FROM model_metrics WHERE window_start >= metrics_from)
    UNION ALL
    SELECT
        'reject_rows',
        'rejects',
        (SELECT count() FROM reject_rows WHERE record_time >= rejects_from),
        (SELECT count() FROM reject_rows FINAL WHERE record_time >= rejects_from),
        (SELECT (count(), uniqExact(topic, partition, offset, reason)) FROM rejects WHERE record_time >= rejects_from)
    UNION ALL
    SELECT
        'campaign_history_rows',
        'campaign_history',
        (SELECT count() FROM campaign_history_rows),
        (SELECT count() FROM campaign_history_rows FINAL),
        (SELECT (count(), uniqExact(campaign_id, number)) FROM campaign_history)
    UNION ALL
    SELECT
        'ledger_rows',
        'ledger',
        (SELECT count() FROM ledger_rows),
        (SELECT count() FROM ledger_rows FINAL),
        (SELECT (count(), uniqExact(join_partition)) FROM ledger)
)
WHERE held_rows > 0
ORDER BY shown_twice DESC, waiting_rows DESC, table_name
