"""ClickHouse's JDBC driver as a command, and its jars: ``python -m tests.clients.jdbc`` writes their lock anew."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.peers.environments import java_of, lock_text

HERE: Final = Path(__file__).parent / "java"
# The driver asks for a file of zstd-jni with fewer platforms, which a mirror may lack; the one for all does as well.
NEEDED: Final = (
    "com.clickhouse:clickhouse-jdbc:0.11.1",
    "com.github.luben:zstd-jni:1.5.7-28",
    "org.slf4j:slf4j-nop:2.0.17",
    "org.eclipse.jdt:ecj:3.43.0",
)
REPLACED: Final = "com.github.luben:zstd-jni:cloud"


def command(say: Callable[[str], None] = lambda _line: None) -> list[str]:
    """What runs `Jdbc`, compiled with the jars of its lock."""
    return [*java_of("Jdbc", say, programs=HERE, locks=HERE), "Jdbc"]


def main() -> None:
    """Writes the lock of the driver's jars anew."""
    argparse.ArgumentParser(description=main.__doc__).parse_args()
    (HERE / "Jdbc.jars").write_text(lock_text(NEEDED, without={REPLACED}, module="tests.clients.jdbc"))


if __name__ == "__main__":
    main()
