"""Spend counted exactly from campaign totals, and how much of the traffic each campaign should take now."""
