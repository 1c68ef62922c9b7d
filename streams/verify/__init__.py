"""Compares what a run has written with a batch computation over its inputs: `run` compares, `oracle` computes."""
