"""Drives any fold, live, in recovery or in replay. `fold` is the contract, `ports` are the interfaces to the outside;
start reading in `runner`.
"""
