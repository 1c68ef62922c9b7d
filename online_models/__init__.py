"""Online learning of click probability: features, FTRL, a learner that is a fold, and how well it does.

Imports `schemas` and never `streams`.
"""
