"""The environment of embedded workers: it names the embedded servers, and hides every other cluster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from streams.warehouse.client import Warehouse

# All variables that a worker reads begin so: a test compares this with the declared settings and options. What users
# decide about embedded workers are the options of `clickfold up` and `clickfold demo`.
_REGISTRY: Final = "SCHEMA_REGISTRY_"
_PREFIXES: Final = ("KAFKA_", "CLICKHOUSE_", "CLICKFOLD_", _REGISTRY)


def worker_environment(
    *, bootstrap: str, clickhouse: Warehouse, state_dir: Path, compression: str = "", registry: bool = False
) -> dict[str, str]:
    """Variables to set for a worker, on top of the user's environment. An empty value means that it is not given.

    The user's own password, certificate or replicated cluster would make a worker fail at the embedded servers, and
    their address for snapshots would mix the state of both systems. With `registry` a worker is given the user's schema
    registry: no registry is embedded.
    """
    own = {
        "CLICKFOLD_TOPIC_PREFIX": "ads.",
        "CLICKHOUSE_DATABASE": "ads",
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "CLICKHOUSE_URL": clickhouse.url,
        "CLICKHOUSE_USER": clickhouse.user,
        "CLICKHOUSE_PASSWORD": clickhouse.password,
        "CLICKFOLD_STATE_DIR": str(state_dir),
        "CLICKFOLD_COMPRESSION": compression,
    }
    # pydantic also reads names in lower case, such as `clickhouse_url`: those get the same value.
    hidden = tuple(prefix for prefix in _PREFIXES if not (registry and prefix == _REGISTRY))
    return own | {name: own.get(name.upper(), "") for name in os.environ if name.upper().startswith(hidden)}
