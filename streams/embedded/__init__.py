"""Real Kafka and ClickHouse, run from Python packages alone, for the demo, tests and a single machine.

`stack` starts and stops all of it.
"""
