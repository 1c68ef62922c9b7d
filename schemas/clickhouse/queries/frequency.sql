-- How many impressions and clicks a user has: the distribution over users, by the hash of their id.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- start, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- end, exclusive, UTC
-- param: campaign String '' -- only this campaign; empty: all
-- param: one_in UInt64 1 -- only users whose hash modulo this is 0: a fair sample of users
-- param: most UInt32 20 -- users with this many or more share one row
-- chart: bar x=measure,per_user y=users -- users by their number of impressions and clicks
-- Outcomes without a user id are left out, and so are impressions that are not decided yet. The range is of impression
-- times. clicks: billable clicks, of users with at least one. users_estimated is users times one_in.
-- impressions: outcomes keep only a share of the unclicked ones. Where every weight is 1, nothing is missing and exact
-- is true. Otherwise exact is false and per_user is the rounded sum of a user's weights: many users with few
-- impressions are missing, and others seem to have more than they have. Then only the mean over many users is right,
-- and not the distribution; join with --negative-rate 1 to get it.
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
