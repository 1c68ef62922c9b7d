"""Backfills beside live work: what each run is, how it differs from live, and which run readers see."""
