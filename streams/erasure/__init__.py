"""Forgetting a user: out of ClickHouse at once, and until when Kafka and kept state still have the id."""
