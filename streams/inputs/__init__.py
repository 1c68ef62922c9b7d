"""Sources of events: users' files, the Open Bandit sample, generated traffic, and the feed that sends them to Kafka.

Begin with `files`.
"""
