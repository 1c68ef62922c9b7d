-- Dead letters by topic and reason, with the newest of each.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- start, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- end, exclusive, UTC
-- param: rows UInt32 1000 -- most rows to return
-- chart: bar x=topic,reason y=records -- dead letters by topic and reason
-- Read the record itself from Kafka, at this partition and offset.
SELECT
    topic,
    reason,
    count() AS records,
    max(record_time) AS newest,
    argMax(partition, (record_time, offset)) AS newest_partition,
    argMax(offset, (record_time, offset)) AS newest_offset,
    argMax(detail, (record_time, offset)) AS newest_detail
FROM rejects
WHERE record_time >= {since:DateTime('UTC')} AND record_time < {until:DateTime('UTC')} OR record_time = toDateTime64(0, 3, 'UTC')
GROUP BY topic, reason
ORDER BY records DESC, topic, reason
LIMIT {rows:UInt32}
