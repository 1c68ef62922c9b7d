"""What a terminal shows: tables, charts, figures, the live view and the numbers behind it."""
