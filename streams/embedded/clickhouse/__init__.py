"""A ClickHouse without a server installed: the engine from PyPI (chDB) behind ClickHouse's own HTTP interface.

`server` runs it as a process. Inside that process `front` serves HTTP, `wire` has its conventions, `statement` splits a
request, `engine` executes, and `faults` breaks answers for tests.
"""

from streams.embedded.clickhouse.faults import Fault
from streams.embedded.clickhouse.server import ClickHouse

__all__ = ["ClickHouse", "Fault"]
