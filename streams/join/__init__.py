"""The join of one partition of impressions with the same partition of clicks, as `DESIGN`'s inequalities state it.

`intake` decodes and judges records one by one, `watermark` bounds lateness, `store` keeps open impressions, `pending`
clicks that wait, `counting` the totals, `fold` puts them together.
"""
