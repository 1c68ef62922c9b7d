"""The pacing law in all scenarios of the market, against its targets."""
