"""What holds for every test. It imports nothing that is shipped: a unit test pays only for what it tests."""

from hypothesis import settings

from tests.effort import tries

# How long an example takes says something of the machine, not of the code.
settings.register_profile("untimed", deadline=None, max_examples=tries(100))
settings.load_profile("untimed")
