"""What happened to one impression id, from its records to ClickHouse: `run` reads, `decisions` asks the oracle."""
