"""ClickHouse for everyone who speaks to it: connecting, typed rows, inserts and their failures; `client` is the front
door.
"""
