"""A market of campaigns to try pacing in: seeded auctions, ad servers, outages, and figures of how budgets were spent.

Start reading in `scenario`, then `played`.
"""
