"""Holds what a run left behind against the batch truth of its inputs; `run` is the front door, `oracle` the truth."""
