"""Learns a model from outcomes as a worker's fold; `fold` is the front door."""
