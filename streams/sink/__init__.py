"""Copies topics of Kafka into tables of ClickHouse, at least once; `worker` is the front door."""
