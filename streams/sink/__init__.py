"""Kafka to ClickHouse: records become typed columns, columns are inserted until acknowledged, then offsets commit.

`shapes` says which column a field becomes, `rows` turns values into columns, `batches` collects what is inserted
together (all three pure), `writer` inserts, `client` connects and reads errors, `letters` sends dead letters, `worker`
drives. Rows are absolute and versioned, so delivering one twice changes no view: at least once is enough.
"""
