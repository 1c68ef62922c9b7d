"""A ClickHouse without a server installed: the engine from PyPI (chDB) behind ClickHouse's own HTTP interface.

`server` runs it as a process. Inside that process `front` serves HTTP, `wire` has its conventions, `codes` its error
numbers; `encodings`, `blocks` and `forms` take bodies apart. `statement` splits a request, `sessions` remembers,
`running` knows which ids run, `native` writes Native for a client's version. `engine` has the data, `execution` runs a
statement, `permissions` says which may run, and `processes` under which id they are seen. `faults` breaks answers for
tests.
"""

from streams.embedded.clickhouse.faults import Fault
from streams.embedded.clickhouse.server import ClickHouse

__all__ = ["ClickHouse", "Fault"]
