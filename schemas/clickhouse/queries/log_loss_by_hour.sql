-- How well each model version predicted clicks, hour by hour: log loss, AUC, calibration; newest first.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- start, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- end, exclusive, UTC
-- param: campaign String '' -- only this campaign; empty: all
-- param: model_version String '' -- only this version; empty: all
-- param: rows UInt32 1000 -- most rows to return
-- chart: line x=hour y=normalised_entropy by=model_version at=1 -- log loss over that of predicting the click rate of the hour (1)
-- From the predictions that impressions came with (pctr), by hour of the impression; unpredicted counts impressions
-- without one. Unclicked outcomes are a sample, and each stands for `weight` impressions. log_loss is in nats an
-- impression. auc is exact, and ties count half. calibration is predicted over observed clicks. normalised_entropy is
-- log_loss over the log loss of always predicting the click rate of the hour: above 1, the predictions are worse than
-- that rate alone. A figure is empty where it is not defined: without predictions, without clicks or with clicks only.
-- A click is known at once, an unclicked impression only after the attribution window: leave out the newest hours.
-- An exact AUC sorts every prediction: give a shorter range (--from) where there are tens of millions.
WITH
    grouped AS
    (
        SELECT
            toStartOfHour(event_time) AS hour,
            model_version,
            sum(weight) AS total,
            sumIf(weight, isNull(pctr)) AS unpredicted_weight,
            -- Above 0: a click. Below 0: the number of impressions that an unclicked outcome stands for.
            groupArrayIf(if(kind = 'click', weight, -weight), isNotNull(pctr)) AS signed,
            -- The bits of a number from 0 to 1 are ordered as the numbers; one more bit orders equal predictions, in
            -- `first` the unclicked first and in `last` the clicked. AUC with ties as half is the mean of both.
            groupArrayIf(bitShiftLeft(reinterpretAsUInt64(assumeNotNull(pctr)), 1), isNotNull(pctr)) AS bits,
            arraySort((each, key) -> key, signed, arrayMap((key, each) -> key + (each > 0), bits, signed)) AS first,
            arraySort((each, key) -> key, signed, arrayMap((key, each) -> key + (each < 0), bits, signed)) AS last,
            arrayCumSum(each -> greatest(-each, 0), first) AS below_or_equal,
            arrayCumSum(each -> greatest(-each, 0), last) AS below,
            arraySum((each, others) -> greatest(each, 0) * others, first, below_or_equal) AS won,
            arraySum((each, others) -> greatest(each, 0) * others, last, below) AS won_surely,
            sumIf(weight, kind = 'click' AND isNotNull(pctr)) AS clicked,
            sumIf(weight, kind = 'unclicked' AND isNotNull(pctr)) AS unclicked,
            clicked + unclicked AS predicted_weight,
            sum(weight * pctr) AS predicted_clicks,
            -- No prediction loses more than 34.5 nats: a single wrong one must not decide an hour.
            -sumIf(weight * log(greatest(1e-15, if(kind = 'click', pctr, 1 - pctr))), isNotNull(pctr)) AS loss,
            loss / nullIf(predicted_weight, 0) AS mean_loss,
            nullIf(clicked / nullIf(predicted_weight, 0), 0) AS rate,
            -(rate * log(rate) + (1 - rate) * log(1 - rate)) AS entropy
        FROM outcomes
        WHERE kind IN ('click', 'unclicked')
            AND event_time >= {since:DateTime('UTC')} AND event_time < {until:DateTime('UTC')}
            AND ({campaign:String} = '' OR campaign_id = {campaign:String})
            AND ({model_version:String} = '' OR model_version = {model_version:String})
        GROUP BY hour, model_version
    )
SELECT
    hour,
    model_version,
    round(total) AS impressions,
    round(unpredicted_weight) AS unpredicted,
    round(clicked) AS clicks,
    round(clicked / nullIf(predicted_weight, 0), 6) AS ctr,
    round(mean_loss, 6) AS log_loss,
    round((won + won_surely) / 2 / nullIf(clicked * unclicked, 0), 4) AS auc,
    round(predicted_clicks / nullIf(clicked, 0), 4) AS calibration,
    if(unclicked = 0, NULL, round(mean_loss / entropy, 4)) AS normalised_entropy
FROM grouped
ORDER BY hour DESC, model_version
LIMIT {rows:UInt32}
