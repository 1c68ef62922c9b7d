"""Runs in ClickHouse: their records and owned minutes, compared, promoted, dropped; `record` is the front door."""
