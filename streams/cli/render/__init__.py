"""What a terminal shows: tables, charts, figures, the live view and the sources of its numbers."""
