"""Real Kafka and ClickHouse run from Python packages alone, for demo, tests and a single machine; `stack` is the front
door.
"""
