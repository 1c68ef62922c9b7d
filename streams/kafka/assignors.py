"""How the members of a consumer group share partitions out, and members that do it in another way."""

from __future__ import annotations

from schemas.errors import SettingsError


def other_assignor(group: str, *, used: str = "", ours: str, remedy: str) -> SettingsError:
    """What a worker stops with when members of its group use another assignor: Kafka never lets it in beside them.

    `used` is theirs, if it is known; `remedy` is what to do if they belong there.
    """
    theirs = f"the assignor {used!r}" if used else "another assignor"
    return SettingsError(
        f"consumer group {group} has members that use {theirs}, and this worker uses {ours!r} (inconsistent group "
        f"protocol): they are no workers of clickfold; stop them, or {remedy}"
    )
