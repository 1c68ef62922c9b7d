"""Every way in which Kafka is spoken to; `cluster` is the front door."""
