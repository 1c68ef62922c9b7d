"""Where events come from: users' files, the Open Bandit sample, made-up traffic, and the feed that plays them; `files`
is the front door.
"""
