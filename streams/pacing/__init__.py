"""Counts spend exactly from campaign totals, and decides how much of the traffic each campaign takes; `worker` is the
front door.
"""
