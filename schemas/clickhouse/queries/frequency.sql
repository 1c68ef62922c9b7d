-- How many impressions and clicks a user has: the distribution over users, by the hashes of their ids.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- first moment, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- first moment no longer included, UTC
-- param: campaign String '' -- only this campaign; empty: all
-- param: one_in UInt64 1 -- only users whose hash divided by it leaves 0: a fair sample of users
-- param: most UInt32 20 -- users with so many or more are one row
-- chart: bar x=measure,per_user y=users -- users with so many impressions, and clicks
-- Records without a user id are left out; so are users without any, and impressions not decided yet. The span is of
-- impressions. clicks: billable ones, of users who clicked at all; users_estimated is users times one_in.
-- impressions: outcomes keep only a share of those without a click. Where every weight is 1 nothing is missing and exact
-- is true. Else exact is false, and per_user is the sum of a user's weights, rounded: many users of few impressions are
-- missing, others seem to have a weight's worth more. Such a distribution is not the users', only its mean over many is
-- near; fold with --negative-rate 1 to know it.
WITH greatest({one_in:UInt64}, 1) AS divisor, greatest({most:UInt32}, 1) AS top
SELECT
    measure,
    least(number_of, top) AS per_user,
    (max(number_of) > top)::Bool AS and_more,
    count() AS users,
    users * divisor AS users_estimated,
    round(users / sum(users) OVER (PARTITION BY measure), 6) AS share,
    round(sum(users) OVER (PARTITION BY measure ORDER BY per_user) / sum(users) OVER (PARTITION BY measure), 6) AS cumulative_share,
    (divisor = 1 AND max(max(weighed)) OVER (PARTITION BY measure) = 1)::Bool AS exact
FROM
(
    SELECT
        user_hash,
        countIf(kind = 'click') AS clicked,
        sumIf(weight, kind IN ('click', 'unclicked')) AS seen,
        max(weight) AS heaviest
    FROM outcomes
    WHERE user_hash != 0 AND user_hash % divisor = 0
        AND event_time >= {since:DateTime('UTC')} AND event_time < {until:DateTime('UTC')}
        AND ({campaign:String} = '' OR campaign_id = {campaign:String})
    GROUP BY user_hash
)
ARRAY JOIN
    ['clicks', 'impressions'] AS measure,
    [clicked, toUInt64(round(seen))] AS number_of,
    [1., heaviest] AS weighed
WHERE number_of > 0
GROUP BY measure, per_user
ORDER BY measure, per_user
