-- Clicks that were charged although another click with the same click id was charged shortly before.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- start, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- end, exclusive, UTC
-- param: campaign String '' -- only charges of this campaign; empty: all
-- param: within_ms UInt32 1925000 -- most time between two clicks that count as one; --dedupe of the join
-- param: rows UInt32 1000 -- most rows to return
-- The join compares click ids within a partition. One click id on two impressions of different partitions is two
-- clicks to it, and both are charged. A row is a billable click whose id another billable click had at most within_ms
-- before; the columns before_ describe that one. Rows of one campaign add up to what it paid too much. By the time of the click, from
-- outcomes, which are kept for 90 days after insertion. A newest click may still come, so ask again later.
WITH
    {since:DateTime('UTC')} - toIntervalMillisecond({within_ms:UInt32}) AS read_from,
    charged AS
    (
        SELECT click_id, click_time, impression_id, campaign_id, join_partition, spend_micros
        FROM clicks
        WHERE kind = 'click' AND click_time >= read_from AND click_time < {until:DateTime('UTC')}
    ),
    -- Few ids come twice: only their clicks are sorted.
    shared AS (SELECT click_id FROM charged GROUP BY click_id HAVING count() > 1)
SELECT
    click_id,
    campaign_id,
    impression_id,
    join_partition,
    click_time,
    spend_micros,
    before.1 AS before_campaign_id,
    before.2 AS before_impression_id,
    before.3 AS before_join_partition,
    before.4 AS before_click_time
FROM
(
    SELECT
        *,
        row_number() OVER one AS number,
        lagInFrame((campaign_id, impression_id, join_partition, click_time)) OVER one AS before
    FROM charged
    WHERE click_id IN (SELECT click_id FROM shared)
    WINDOW one AS (PARTITION BY click_id ORDER BY click_time, impression_id
        ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
)
WHERE number > 1 AND click_time <= before.4 + toIntervalMillisecond({within_ms:UInt32})
    AND click_time >= {since:DateTime('UTC')} AND ({campaign:String} = '' OR campaign_id = {campaign:String})
ORDER BY spend_micros DESC, click_time DESC, click_id
LIMIT {rows:UInt32}
