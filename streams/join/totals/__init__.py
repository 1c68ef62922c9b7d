"""What the join counts, by minute and dimensions and by quarter-hour and campaign; `counting` is the front door."""
