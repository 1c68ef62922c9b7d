"""Predictions over HTTP: `following` reads models and pacing decisions, `application` answers calls from them.

`models` and `decisions` take records, `calls` reads bodies, `limits` bounds time and connections, `openapi` describes.
"""
