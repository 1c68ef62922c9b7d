"""Runs in ClickHouse: recorded, compared, promoted and dropped. Begin with `record`."""
