-- Each arm of each experiment against its control: click rate, revenue, difference, and whether that is chance.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- start, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- end, exclusive, UTC
-- param: experiment String '' -- only this experiment; empty: all
-- param: control String '' -- the arm that others are compared with; empty: the first by name
-- param: shares String '' -- share of impressions each arm was to get, as a=0.9,b=0.1; empty: equal shares
-- param: split String 'impression' -- what was divided between the arms: impression or user
-- param: planned Float64 500000 -- impressions in an arm and its control at which intervals are narrowest
-- chart: points x=arm y=difference low=difference_low high=difference_high by=experiment at=0 unit=% -- click rate minus the control's, 95 % intervals
-- Attributed measures: an arm owns its impressions and the clicks on them, whenever these came. difference is the click
-- rate of the arm minus that of the control. Its interval is an asymptotic confidence sequence (Waudby-Smith and others,
-- 2024, equation 9): it may be looked at as often as one likes. p_value is 0.05 or more as long as the interval contains
-- 0, and p_holm is the same corrected for the number of arms that are compared. lift is the difference over the rate of
-- the control. detectable_difference is the smallest true difference that a look at this size finds in 4 of 5 cases:
-- where nothing was found, the true difference may still be smaller than that. It is not yet known, NULL, while the
-- control has no click.
-- planned must not be chosen by what was seen. With other sizes the interval is right too, and wider than it could be.
-- share_p is the probability of shares of impressions as uneven as these, or of users (Lindon and Malek, 2022; the same
-- in each row, valid at every look): below 0.001 something is broken, and the other figures are wrong as well.
-- split=user: users were divided, each with many impressions, so the variance of a rate is that of a ratio of sums over
-- users (delta method; Deng and others, 2018). Clicks and impressions of a user are those of outcomes, where a sampled
-- non-click counts as often as it stands for; what sampling adds to the variance is taken off. An impression without a
-- user counts as a user. It needs outcomes of the whole time, which are kept for 90 days, and a negative rate above 0.
WITH
    0.05 AS alpha,
    0.8416212335729143 AS z_power,
    -- Makes the interval narrowest at `planned` impressions: equation 161.
    (-2 * log(alpha) + log(-2 * log(alpha) + 1)) / {planned:Float64} AS rho_squared,
    -- How many impressions the belief is worth that shares are as intended.
    10000 AS worth,
    arrayFilter(part -> part != '', splitByChar(',', {shares:String})) AS given,
    arrayMap(part -> splitByChar('=', part)[1], given) AS named,
    arrayMap(part -> toFloat64OrZero(splitByChar('=', part)[2]), given) AS wanted,
    users AS
    (
        SELECT
            experiment,
            arm,
            countIf(unclicked > 0) AS seen,
            sum(c * c) AS clicks_squared,
            sum(c * k) AS products,
            sum(k * k) AS impressions_squared,
            sum(doubted) AS doubt
        FROM
        (
            SELECT
                experiment,
                arm,
                if(user_hash = 0, toString(cityHash64(impression_id)), toString(user_hash)) AS user,
                countIf(kind = 'click') AS c,
                countIf(kind = 'unclicked') AS unclicked,
                sum(weight) AS k,
                sumIf(weight * weight - weight, kind = 'unclicked') AS doubted
            FROM outcomes
            WHERE {split:String} = 'user' AND kind IN ('click', 'unclicked') AND experiment != ''
                AND event_time >= {since:DateTime('UTC')} AND event_time < {until:DateTime('UTC')}
                AND ({experiment:String} = '' OR experiment = {experiment:String})
            GROUP BY experiment, arm, user
        )
        GROUP BY experiment, arm
    ),
    counted AS
    (
        SELECT
            experiment,
            arm,
            sum(minutes.impressions) AS n,
            sum(minutes.attributed_clicks) AS x,
            sum(expected_clicks_nano) AS nano,
            sum(minutes.attributed_spend_micros) AS micros,
            min(minutes.final) AS all_final,
            x / n AS rate,
            -- Half a click is the least, so that it is never 0.
            least(greatest(toFloat64(x), 0.5), n - 0.5) / n AS bounded,
            bounded * (1 - bounded) / n AS independent,
            -- An arm that is not named was to get no impressions.
            if(empty(given), 1, wanted[indexOf(named, arm)]) AS meant
        FROM minutes
        WHERE minute >= {since:DateTime('UTC')} AND minute < {until:DateTime('UTC')} AND experiment != ''
            AND ({experiment:String} = '' OR experiment = {experiment:String})
            AND (SELECT throwIf({control:String} != '' AND count() > 0 AND countIf(arm = {control:String}) = 0,
                'control: there is no such arm in this time; leave control empty to see all arms')
                FROM minutes
                WHERE minute >= {since:DateTime('UTC')} AND minute < {until:DateTime('UTC')} AND experiment != ''
                    AND ({experiment:String} = '' OR experiment = {experiment:String})) = 0
            AND (SELECT throwIf(NOT match({shares:String}, '^([^=,]+=[0-9.]*[1-9][0-9.]*(,|$))*$'),
                'shares are written as a=0.9,b=0.1, all above 0')) = 0
            AND (SELECT throwIf({split:String} NOT IN ('impression', 'user'), 'split is impression or user')) = 0
            AND (SELECT throwIf({planned:Float64} < 1, 'planned is a number of impressions, at least 1')) = 0
            AND (SELECT throwIf(countIf(kind = 'unclicked') = 0 AND count() > 0,
                'split=user needs sampled non-clicks, and outcomes of this time have none')
                FROM outcomes
                WHERE {split:String} = 'user' AND event_time >= {since:DateTime('UTC')} AND event_time < {until:DateTime('UTC')} AND experiment != ''
                    AND ({experiment:String} = '' OR experiment = {experiment:String})) = 0
        GROUP BY experiment, arm
        HAVING n > 0
    ),
    spread AS
    (
        SELECT
            counted.*,
            if({split:String} = 'user', toFloat64(users.seen), toFloat64(n)) AS divided,
            greatest(independent, if({split:String} = 'user', (clicks_squared - 2 * rate * products
                + rate * rate * (impressions_squared - doubt)) / n / n, 0.)) AS variance
        FROM counted
        LEFT JOIN users ON users.experiment = counted.experiment AND users.arm = counted.arm
    ),
    paired AS
    (
        SELECT
            *,
            if({control:String} = '', min(arm) OVER whole, {control:String}) AS control_arm,
            sum(divided) OVER whole AS all_divided,
            count() OVER whole AS arms,
            divided / all_divided AS own_share,
            meant / if(empty(given), toFloat64(arms), arraySum(wanted)) AS meant_share
        FROM spread
        WINDOW whole AS (PARTITION BY experiment)
    ),
    tested AS
    (
        SELECT
            *,
            sumIf(n, arm = control_arm) OVER whole AS control_n,
            sumIf(x, arm = control_arm) OVER whole AS control_x,
            arm != control_arm AND control_n > 0 AS compared,
            control_x / nullIf(control_n, 0) AS control_rate,
            rate - control_rate AS more,
            variance + sumIf(variance, arm = control_arm) OVER whole AS both,
            independent + sumIf(independent, arm = control_arm) OVER whole AS both_independent,
            (n + control_n) * both_independent / both AS effective,
            effective * rho_squared AS scale,
            sqrt(2 * (scale + 1) / scale * log(sqrt(scale + 1) / alpha)) AS errors,
            sqrt(both) * errors AS half,
            -- Equation 155.
            more * more / both * scale / 2 / (scale + 1) - log(scale + 1) / 2 AS evidence,
            if(compared, exp(-greatest(evidence, 0.)), NULL) AS p,
            (errors + z_power) * sqrt(both / both_independent)
                * sqrt(control_rate * (1 - control_rate) * (1 / n + 1 / nullIf(control_n, 0))) AS detectable,
            -- An arm of `shares` without impressions counts as well: its part of the sum is 0.
            lgamma(worth) - lgamma(worth + all_divided) + sum(if(meant_share = 0, if(divided = 0, 0, inf),
                lgamma(worth * meant_share + divided) - lgamma(worth * meant_share) - divided * log(meant_share)))
                OVER whole AS split_evidence,
            if(empty(given), arms, length(given)) AS meant_arms
        FROM paired
        WINDOW whole AS (PARTITION BY experiment)
    ),
    adjusted AS
    (
        SELECT
            *,
            row_number() OVER (PARTITION BY experiment, compared ORDER BY p, arm) AS rank,
            least(1, p * (sum(compared) OVER (PARTITION BY experiment) - rank + 1)) AS own_holm
        FROM tested
    )
SELECT
    experiment,
    arm,
    n AS impressions,
    x AS attributed_clicks,
    round(rate, 6) AS ctr,
    round(nano / 1e9, 3) AS expected_clicks,
    micros AS attributed_spend_micros,
    round(1000 * micros / n) AS spend_per_thousand_micros,
    control_arm AS control,
    if(compared, round(more, 6), NULL) AS difference,
    if(compared, round(greatest(more - half, -1.), 6), NULL) AS difference_low,
    if(compared, round(least(more + half, 1.), 6), NULL) AS difference_high,
    if(compared, round(more / nullIf(control_rate, 0), 4), NULL) AS lift,
    round(p, 6) AS p_value,
    if(compared, round(max(own_holm) OVER (PARTITION BY experiment, compared ORDER BY rank), 6), NULL) AS p_holm,
    if(compared, nullIf(round(least(detectable, 1.), 6), 0), NULL) AS detectable_difference,
    round(own_share, 4) AS share,
    round(meant_share, 4) AS expected_share,
    if(meant_arms < 2, NULL, round(exp(-greatest(split_evidence, 0.)), 6)) AS share_p,
    all_final AS final
FROM adjusted
ORDER BY experiment, arm
