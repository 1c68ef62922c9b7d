"""Turns a statement of a migration into its form for a cluster of replicas."""

from __future__ import annotations

import re
from typing import Final

from schemas.errors import BrokenInvariant, SettingsError

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# The start of every kind of statement in a migration, up to and including the name: ON CLUSTER comes after that.
_HEAD: Final = re.compile(
    r"(?:\s|--[^\n]*\n)*"
    r"(?:CREATE(?:\s+OR\s+REPLACE)?\s+(?:DATABASE|TABLE|(?:MATERIALIZED\s+)?VIEW|DICTIONARY)(?:\s+IF\s+NOT\s+EXISTS)?"
    r"|DROP\s+(?:TABLE|VIEW|DICTIONARY)(?:\s+IF\s+EXISTS)?"
    r"|ALTER\s+TABLE)"
    r"\s+\w+"
)
_ENGINE: Final = re.compile(r"^ENGINE = (?=\w*MergeTree\b)", re.MULTILINE)


def clustered(statement: str, cluster: str) -> str:
    """The statement for every replica of `cluster`; unchanged when `cluster` is empty.

    It has `ON CLUSTER`, and every table has the Replicated form of its engine, at the server's `default_replica_path`.
    Raises SettingsError for a cluster that is not a plain name, BrokenInvariant for a statement of another kind.
    """
    if not cluster:
        return statement
    if not NAME.fullmatch(cluster):
        raise SettingsError(f"cluster {cluster!r} is not a plain name; use letters, digits and _")
    head = _HEAD.match(statement)
    if head is None:
        raise BrokenInvariant(f"a migration begins with {statement[:80]!r}, which has no known form on a cluster")
    rest = _ENGINE.sub("ENGINE = Replicated", statement[head.end() :])
    return f"{head[0]} ON CLUSTER {cluster}{rest}"
