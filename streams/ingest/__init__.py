"""Ingest: records of any topics become impressions and clicks by mappings; start reading in `fold`."""
