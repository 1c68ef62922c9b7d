-- How well models predict before they learn, by hour and slice, newest first; also of the predictions that were served.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- start, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- end, exclusive, UTC
-- param: model String '' -- only this model; empty: all
-- param: slice String 'all' -- all, dimension=value, served or beside served; empty: every slice
-- param: rows UInt32 1000 -- most rows to return
-- chart: line x=hour y=ne by=model at=1 -- log loss over that of predicting the click rate of the hour (1)
-- Sums over windows and shards, by the hour in which windows begin. ne is log_loss over the entropy of the click rate of
-- the hour (He and others, 2014). calibration is predicted over actual clicks, with 95 % limits where clicks are Poisson
-- (Byar's approximation: Breslow and Day, 1987). ece is the mean distance of predicted and actual rates, over bins
-- (Naeini and others, 2015), weighted over windows. auc is the mean of the exact ones of the windows, by weight. The slice
-- served has the predictions that impressions came with, beside served the model's own of the same outcomes: where they
-- differ much, training and serving differ.
WITH
    summed AS
    (
        SELECT
            toStartOfHour(window_start) AS hour,
            model,
            slice,
            sum(examples) AS outcomes,
            sum(weight) AS total,
            sum(clicks) AS clicked,
            sum(predicted_clicks) AS predicted,
            sum(log_loss * weight) / nullIf(total, 0) AS loss,
            sum(ece * weight) / nullIf(total, 0) AS error,
            sumIf(auc * weight, isNotNull(auc)) / nullIf(sumIf(weight, isNotNull(auc)), 0) AS ranked,
            clicked / nullIf(total, 0) AS rate,
            -(rate * log(rate) + (1 - rate) * log(1 - rate)) AS entropy,
            1.959963984540054 AS z,
            clicked * pow(1 - 1 / (9 * clicked) - z / (3 * sqrt(clicked)), 3) AS least,
            (clicked + 1) * pow(1 - 1 / (9 * (clicked + 1)) + z / (3 * sqrt(clicked + 1)), 3) AS most
        FROM model_metrics
        WHERE window_start >= {since:DateTime('UTC')} AND window_start < {until:DateTime('UTC')}
            AND ({model:String} = '' OR model = {model:String})
            AND ({slice:String} = '' OR slice = {slice:String})
        GROUP BY hour, model, slice
    )
SELECT
    hour,
    model,
    slice,
    outcomes,
    round(total) AS impressions,
    round(clicked) AS clicks,
    if(rate > 0 AND rate < 1, round(loss / entropy, 4), NULL) AS ne,
    round(loss, 6) AS log_loss,
    round(ranked, 4) AS auc,
    if(clicked > 0, round(predicted / clicked, 4), NULL) AS calibration,
    if(clicked > 0, round(predicted / most, 4), NULL) AS calibration_low,
    if(clicked >= 1, round(predicted / least, 4), NULL) AS calibration_high,
    round(error, 6) AS ece
FROM summed
ORDER BY hour DESC, model, slice
LIMIT {rows:UInt32}
