"""What the join counts, by minute and dimensions and by quarter-hour and campaign: start reading in `counting`."""
