"""Drives any fold, live, in recovery or in replay: `fold` is the contract, `ports` what an engine needs of the world,
`runner` the front door.
"""
