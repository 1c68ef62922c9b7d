"""What things are on the wire and in SQL: events, decisions, totals, records, topics, bounds and errors; `events` is
the place to begin.
"""
