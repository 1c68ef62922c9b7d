-- Each arm of each experiment against its control: click rate, revenue, difference, and whether that is chance.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- start, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- end, exclusive, UTC
-- param: experiment String '' -- only this experiment; empty: all
-- param: control String '' -- the arm that others are compared with; empty: the first by name
-- param: shares String '' -- share of impressions each arm was to get, as a=0.9,b=0.1; empty: equal shares
-- chart: points x=arm y=difference low=difference_low high=difference_high by=experiment at=0 unit=% -- click rate minus the control's, 95 % intervals
-- Attributed measures: an arm owns its impressions and the clicks on them, whenever these came. difference is the click
-- rate of the arm minus that of the control, with Newcombe's hybrid score interval (method 10 of 1998). p_value is from
-- the score test of no difference, p_holm the same corrected for the number of arms that are compared. lift is the
-- difference over the rate of the control. detectable_difference is the smallest true difference that a test of this
-- size finds in 4 of 5 cases: where nothing was found, the true difference may still be smaller than that. It is not yet
-- known, NULL, while the control has no click.
-- share_p tests whether the impressions were divided as intended (chi-square over the arms, the same in each row):
-- below 0.001 something is broken, and the other figures are wrong as well.
-- A test that is looked at again and again finds a difference sooner or later: decide beforehand when to look.
-- Impressions count as independent; where users were divided, each with many impressions, intervals are too narrow and
-- p is too small.
WITH
    -- proportionsZTest is not used: its interval is Wald's, which contains the truth too seldom when clicks are few.
    1.959963984540054 AS z,
    0.8416212335729143 AS z_power,
    arrayFilter(part -> part != '', splitByChar(',', {shares:String})) AS given,
    arrayMap(part -> splitByChar('=', part)[1], given) AS named,
    arrayMap(part -> toFloat64OrZero(splitByChar('=', part)[2]), given) AS wanted,
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
            (rate + z * z / 2 / n) / (1 + z * z / n) AS middle,
            z * sqrt(rate * (1 - rate) / n + z * z / 4 / n / n) / (1 + z * z / n) AS half,
            -- Wilson's interval.
            middle - half AS low,
            middle + half AS high,
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
        GROUP BY experiment, arm
        HAVING n > 0
    ),
    paired AS
    (
        SELECT
            *,
            if({control:String} = '', min(arm) OVER whole, {control:String}) AS control_arm,
            sum(n) OVER whole AS all_n,
            count() OVER whole AS arms,
            n / all_n AS own_share,
            meant / if(empty(given), toFloat64(arms), arraySum(wanted)) AS meant_share
        FROM counted
        WINDOW whole AS (PARTITION BY experiment)
    ),
    tested AS
    (
        SELECT
            *,
            sumIf(n, arm = control_arm) OVER whole AS control_n,
            sumIf(x, arm = control_arm) OVER whole AS control_x,
            sumIf(low, arm = control_arm) OVER whole AS control_low,
            sumIf(high, arm = control_arm) OVER whole AS control_high,
            arm != control_arm AND control_n > 0 AS compared,
            control_x / nullIf(control_n, 0) AS control_rate,
            rate - control_rate AS more,
            (x + control_x) / (n + control_n) AS pooled,
            1 / n + 1 / nullIf(control_n, 0) AS sizes,
            sqrt(pooled * (1 - pooled) * sizes * (n + control_n) / (n + control_n - 1)) AS error,
            (z + z_power) * sqrt(control_rate * (1 - control_rate) * sizes) AS detectable,
            -- With no click at all, or with clicks only, no difference was seen.
            if(NOT compared, NULL, if(error = 0, 1, erfc(abs(more) / error / sqrt(2)))) AS p,
            -- An arm of `shares` without impressions counts as well. The upper tail of chi-square is a finite sum for
            -- every whole number of degrees of freedom.
            if(empty(given), arms, length(given)) - 1 AS freedom,
            freedom % 2 / 2 AS odd,
            (sum(pow(n - all_n * meant_share, 2) / (all_n * meant_share)) OVER whole
                + all_n * (1 - sum(meant_share) OVER whole)) / 2 AS half_square,
            if(odd > 0, erfc(sqrt(half_square)), 0) + arraySum(
                at -> exp((at + odd) * log(greatest(half_square, 1e-300)) - half_square - lgamma(at + odd + 1)),
                range(intDiv(greatest(freedom, 0), 2))) AS split_p
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
    if(compared, round(more - hypot(rate - low, control_high - control_rate), 6), NULL) AS difference_low,
    if(compared, round(more + hypot(high - rate, control_rate - control_low), 6), NULL) AS difference_high,
    if(compared, round(more / nullIf(control_rate, 0), 4), NULL) AS lift,
    round(p, 6) AS p_value,
    if(compared, round(max(own_holm) OVER (PARTITION BY experiment, compared ORDER BY rank), 6), NULL) AS p_holm,
    if(compared, nullIf(round(detectable, 6), 0), NULL) AS detectable_difference,
    round(own_share, 4) AS share,
    round(meant_share, 4) AS expected_share,
    multiIf(isInfinite(half_square), 0, freedom < 1, NULL, round(split_p, 6)) AS share_p,
    all_final AS final
FROM adjusted
ORDER BY experiment, arm
