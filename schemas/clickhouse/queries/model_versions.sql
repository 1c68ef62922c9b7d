-- Model versions compared with a baseline: log loss in the hours and campaigns that both served.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- start, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- end, exclusive, UTC
-- param: campaign String '' -- only this campaign; empty: all
-- param: baseline String '' -- the version that others are compared with; empty: the one with most impressions
-- chart: points x=model_version y=difference low=difference_low high=difference_high at=0 unit=nats -- log loss minus the baseline's, 95 % intervals
-- Versions had different traffic. So log_loss, auc and calibration of two versions also compare their traffic: what is
-- rarely clicked has a low log loss whoever predicts it. difference is of log losses within the same hour and campaign;
-- below 0 the version is better than the baseline. An hour and campaign counts with a * b / (a + b), where a and b are
-- the impressions of both, and only if each has at least two outcomes. matched is the share of the version's
-- impressions in them. This is still no experiment: the choice of who served what was not random.
-- Unclicked outcomes are a sample, and each stands for `weight` impressions. Standard errors allow for that; they count
-- impressions as independent, which those of one user are not. Impressions without a prediction are left out
-- (calibration counts them). A click is known at once, an unclicked impression only after the attribution window:
-- choose an end before the newest hours.
WITH
    predicted AS
    (
        SELECT
            toStartOfHour(event_time) AS hour,
            campaign_id,
            model_version,
            kind = 'click' AS is_click,
            weight,
            assumeNotNull(pctr) AS prediction,
            -log(greatest(1e-15, if(is_click, prediction, 1 - prediction))) AS loss
        FROM outcomes
        WHERE kind IN ('click', 'unclicked') AND isNotNull(pctr)
            AND event_time >= {since:DateTime('UTC')} AND event_time < {until:DateTime('UTC')}
            AND ({campaign:String} = '' OR campaign_id = {campaign:String})
    ),
    strata AS
    (
        SELECT
            hour,
            campaign_id,
            model_version,
            count() AS outcomes,
            sum(weight) AS w,
            sumIf(weight, is_click) AS clicked,
            sum(weight * prediction) AS predicted_clicks,
            sum(weight * loss) AS wl,
            sum(weight * weight) AS ww,
            sum(weight * weight * loss) AS wwl,
            sum(weight * weight * loss * loss) AS wwll,
            wl / w AS mean,
            greatest(0, wwll - 2 * mean * wwl + mean * mean * ww) AS squares,
            if(outcomes > 1, squares / w / w * outcomes / (outcomes - 1), NULL) AS variance
        FROM predicted
        GROUP BY hour, campaign_id, model_version
    ),
    weighed AS (SELECT *, sum(w) OVER (PARTITION BY model_version) AS version_total FROM strata),
    based AS
    (
        SELECT
            *,
            argMin(model_version, (-version_total, model_version)) OVER () AS largest,
            if({baseline:String} = '', largest, {baseline:String}) AS baseline
        FROM weighed
    ),
    paired AS
    (
        SELECT
            *,
            sumIf(w, model_version = baseline) OVER stratum AS base_w,
            anyIf(mean, model_version = baseline) OVER stratum AS base_mean,
            anyIf(variance, model_version = baseline) OVER stratum AS base_variance,
            model_version != baseline AND base_w > 0 AND isNotNull(variance) AND isNotNull(base_variance) AS pair,
            if(pair, w * base_w / (w + base_w), 0) AS share
        FROM based
        WINDOW stratum AS (PARTITION BY hour, campaign_id)
    ),
    versions AS
    (
        SELECT
            model_version,
            any(paired.baseline) AS baseline,
            sum(w) AS total,
            sum(paired.clicked) AS clicked,
            sum(paired.predicted_clicks) AS predicted_clicks,
            sum(wl) / total AS mean_loss,
            greatest(0, sum(wwll) - 2 * mean_loss * sum(wwl) + mean_loss * mean_loss * sum(ww)) AS all_squares,
            sqrt(all_squares) / total AS loss_error,
            clicked / total AS rate,
            -(rate * log(rate) + (1 - rate) * log(1 - rate)) AS entropy,
            sumIf(w, pair) / total AS matched,
            nullIf(sum(share), 0) AS shares,
            sum(share * (mean - base_mean)) / shares AS difference,
            1.959963984540054 * sqrt(sum(share * share * (variance + base_variance))) / shares AS half
        FROM paired
        GROUP BY model_version
    ),
    ranked AS
    (
        -- As in log_loss_by_hour.
        SELECT
            model_version,
            groupArray(if(is_click, weight, -weight)) AS signed,
            groupArray(bitShiftLeft(reinterpretAsUInt64(prediction), 1)) AS bits,
            arraySort((each, key) -> key, signed, arrayMap((key, each) -> key + (each > 0), bits, signed)) AS first,
            arraySort((each, key) -> key, signed, arrayMap((key, each) -> key + (each < 0), bits, signed)) AS last,
            arrayCumSum(each -> greatest(-each, 0), first) AS below_or_equal,
            arrayCumSum(each -> greatest(-each, 0), last) AS below,
            arraySum((each, others) -> greatest(each, 0) * others, first, below_or_equal) AS won,
            arraySum((each, others) -> greatest(each, 0) * others, last, below) AS won_surely,
            (won + won_surely) / 2 / nullIf(sumIf(weight, is_click) * sumIf(weight, NOT is_click), 0) AS auc
        FROM predicted
        GROUP BY model_version
    )
SELECT
    model_version,
    round(total) AS impressions,
    round(clicked) AS clicks,
    round(rate, 6) AS ctr,
    round(mean_loss, 6) AS log_loss,
    round(loss_error, 6) AS log_loss_error,
    if(rate = 0 OR rate = 1, NULL, round(mean_loss / entropy, 4)) AS normalised_entropy,
    round(ranked.auc, 4) AS auc,
    round(predicted_clicks / nullIf(clicked, 0), 4) AS calibration,
    versions.baseline AS baseline,
    if(model_version = versions.baseline, NULL, round(versions.matched, 4)) AS matched,
    round(versions.difference, 6) AS difference,
    round(versions.difference - half, 6) AS difference_low,
    round(versions.difference + half, 6) AS difference_high
FROM versions
INNER JOIN ranked USING (model_version)
ORDER BY impressions DESC, model_version
