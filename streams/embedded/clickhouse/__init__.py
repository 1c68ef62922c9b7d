"""A ClickHouse without a server installed: the engine from PyPI (chDB) behind ClickHouse's own HTTP interface.

`server` runs it as a process; inside that process `front` speaks HTTP, `wire` knows its conventions, `statement` splits
a request, `engine` executes, and `faults` spoils answers for tests.
"""

from streams.embedded.clickhouse.faults import Fault
from streams.embedded.clickhouse.server import ClickHouse

__all__ = ["ClickHouse", "Fault"]
