"""Learns a model from outcomes as a worker's fold; start reading in `fold`."""
