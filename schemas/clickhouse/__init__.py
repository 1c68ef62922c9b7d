"""ClickHouse's side of the schema: numbered migrations (tables and views) and named queries, as SQL files here.

Tables (`minute_totals`, `*_rows`) hold versions and copies; the views beside them hold what is true, each key once and
of the active run. Read views.
"""
