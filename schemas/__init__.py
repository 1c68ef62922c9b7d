"""What things are on the wire and in SQL: events, outcomes, totals, topics, errors. Start reading in `events`."""
