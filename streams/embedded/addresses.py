"""The ports of Kafka and ClickHouse in a folder: chosen at the first start, the same ever after."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from schemas.errors import SettingsError
from streams.embedded.ports import free_port, holder, is_free

# Where clients look for them, by part.
USUAL: Final = {"kafka": 9092, "clickhouse": 8123}
TITLES: Final = {"kafka": "Kafka", "clickhouse": "ClickHouse"}


def settled_port(part: str, *, given: int, kept: int, others: Collection[int] = ()) -> int:
    """The port `given` by the user, else the one `kept` from earlier starts, else the usual one or any that is free.

    0 is none, and no port is one of the `others`. Saved data sources and producers name the port, so a kept one is
    never exchanged in silence. Raises SettingsError for one of the others, and for one that is taken, with the program
    that has it.
    """
    wanted = given or kept
    if not wanted:
        return free_port(USUAL[part], other_than=others)
    if wanted in others:
        raise SettingsError(f"port {wanted} is that of Kafka and of ClickHouse; give another --{part}-port")
    if not is_free(wanted):
        raise SettingsError(
            f"port {wanted} of {TITLES[part]} is taken by {holder(wanted)}; end that program, or give another "
            f"--{part}-port"
        )
    return wanted
