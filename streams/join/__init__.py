"""Joins one partition of impressions to the same partition of clicks; start reading in `fold`."""
