"""Snapshots of a partition's state in a location all machines reach: one that moves need not be rebuilt from its log.

`layout` says what lies there, `put` writes it as one owner, `fetch` reads what any owner left, `objects` is the
location itself, `sharing` does it beside the fold's work. Nothing here decides anything: without it all is the same,
later.
"""
