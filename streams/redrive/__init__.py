"""Looks at dead letters, and sends records that are mended to the live log again: `run` decides, `sending` sends."""
