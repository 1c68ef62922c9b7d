"""What holds for every test. It imports nothing of ours: a unit test pays only for what it tests."""

from hypothesis import settings

# How long an example takes says something of the machine, not of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
