"""Joins one partition of impressions to the same partition of clicks; `fold` is the front door."""
