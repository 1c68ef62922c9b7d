"""The schema in ClickHouse: numbered migrations (tables and views) and named queries, as SQL files in this folder.

Tables (`minute_totals`, `*_rows`) have versions and copies. The views beside them show each key once, at its highest
version and from the active run. Read views.
"""
