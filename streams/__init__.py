"""Everything that reads or writes a stream of events, one folder for each concern."""
