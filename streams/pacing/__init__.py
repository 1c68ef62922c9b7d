"""Counts spend exactly from campaign totals, and decides which share of the auctions each campaign takes.

Start reading in `decisions`; `worker` runs the process.
"""
