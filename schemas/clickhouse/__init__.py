"""The schema in ClickHouse: numbered migrations (tables and views) and named queries, as SQL files in this folder.

A table (`minute_totals`, `*_rows`) may have several versions and copies of a row. Its view shows each key once, with
the highest version, from the run that is promoted or else from live work. Read views.
"""
