-- Signs of traffic that is not human: bursts, impossible delays, many clicks on one impression or many campaigns.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- start, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- end, exclusive, UTC
-- param: campaign String '' -- only this campaign; empty: all
-- param: burst UInt32 5 -- more clicks of a user in a minute than this are a burst
-- param: soonest_ms Int64 200 -- clicks sooner than this after the impression are too soon for a person
-- param: same UInt32 3 -- this many clicks on one impression are many; at least 2
-- param: campaigns UInt32 20 -- clicks of a user on this many campaigns in a day (UTC) are many
-- param: rows UInt32 1000 -- most rows to return
-- chart: bar x=signal,first_click y=billed_micros -- what was billed for the clicks of each sign
-- By the time of the click, repeats included. These are signs and no proof: an office behind one user id clicks in
-- bursts, and negative_delay only says that clocks disagree. Minutes and days are calendar ones, so a burst across two
-- minutes may be missed. too_soon and negative_delay have a row for each user and day.
-- user_hash is the hash of the user id; it is empty where there is no id or where the row is not about one user.
-- campaign_id is empty where the row has several. A click may be in several rows: do not add billed_micros over
-- signals.
WITH
    seen AS
    (
        SELECT kind, campaign_id, impression_id, user_hash, event_time, click_time, delay_ms, spend_micros,
            toStartOfMinute(click_time) AS minute, toStartOfDay(click_time) AS day
        FROM clicks
        WHERE click_time >= {since:DateTime('UTC')} AND click_time < {until:DateTime('UTC')}
            AND ({campaign:String} = '' OR campaign_id = {campaign:String})
    ),
    -- These are few and found from small columns, so that the pass over all columns groups only the clicks it needs.
    bursting AS (SELECT user_hash, minute FROM seen GROUP BY ALL HAVING count() > {burst:UInt32}),
    roaming AS (SELECT user_hash, day FROM seen GROUP BY ALL HAVING count() >= {campaigns:UInt32}),
    repeated AS (SELECT impression_id, event_time FROM seen WHERE kind = 'repeat')
SELECT
    signal,
    if(hash = 0, '', toString(hash)) AS user_hash,
    impression AS impression_id,
    if(met = 1, one_campaign, '') AS campaign_id,
    first_click,
    last_click,
    counted AS clicks,
    met AS campaigns,
    shortest_ms,
    billed_micros
FROM
(
    SELECT
        sign.1 AS signal,
        sign.2 AS hash,
        sign.3 AS impression,
        min(campaign_id) AS one_campaign,
        min(click_time) AS first_click,
        max(click_time) AS last_click,
        count() AS counted,
        uniqExact(campaign_id) AS met,
        min(delay_ms) AS shortest_ms,
        sum(spend_micros) AS billed_micros
    FROM seen
    ARRAY JOIN arrayFilter(sign -> sign.1 != '', [
        (if(user_hash != 0 AND (user_hash, minute) IN bursting, 'burst', ''), user_hash, '', toDateTime64(minute, 3)),
        (if(user_hash != 0 AND (user_hash, day) IN roaming, 'many_campaigns', ''), user_hash, '', toDateTime64(day, 3)),
        (if((impression_id, event_time) IN repeated, 'many_on_one', ''), 0, impression_id, event_time),
        (multiIf(delay_ms < 0, 'negative_delay', delay_ms < {soonest_ms:Int64}, 'too_soon', ''), user_hash, '',
            toDateTime64(day, 3))
    ]) AS sign
    GROUP BY sign
    HAVING multiIf(
        signal = 'many_campaigns', met >= {campaigns:UInt32},
        signal = 'many_on_one', counted >= {same:UInt32},
        true)
)
ORDER BY billed_micros DESC, clicks DESC, signal, first_click, user_hash, impression_id
LIMIT {rows:UInt32}
