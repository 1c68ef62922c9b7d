"""Copies topics of Kafka into tables of ClickHouse, at least once; start reading in `worker`."""
