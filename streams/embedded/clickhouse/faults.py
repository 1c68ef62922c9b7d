"""Faults that a test can order from the front: what a network does to a sink. Each applies to matching statements."""

from typing import Literal

import msgspec


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One order, for ``times`` statements that contain ``match``, behind the next ``after`` such statements.

    ``applied_answer_lost``: run, then close the connection without an answer. ``status``: don't run, answer ``status``
    with ``body`` and ``retry_after`` (s), as ClickHouse error ``code`` if given. ``slow``: wait ``seconds``, then run.
    ``reset``: don't run, reset the connection. ``reset_body``: reset it in the middle of the body, with the rest
    unread; here ``match`` sees the ``query`` parameter and the beginning of the body.
    """

    kind: Literal["applied_answer_lost", "status", "slow", "reset", "reset_body"]
    match: str = ""
    times: int = 1
    after: int = 0
    status: int = 503
    retry_after: float | None = None
    code: int | None = None
    body: str = ""
    seconds: float = 0.0


class Faults:
    """Faults that are ordered and not used up, oldest first. Used from one event loop only."""

    def __init__(self) -> None:
        self._left: list[Fault] = []

    def order(self, orders: bytes) -> None:
        """Replace all orders by a JSON list of them. Raises msgspec.ValidationError or DecodeError."""
        self._left = msgspec.json.decode(orders, type=list[Fault])

    @property
    def left(self) -> bytes:
        """The faults that are not used up, as JSON."""
        return msgspec.json.encode(self._left)

    def strike(self, sql: str) -> Fault | None:
        """The fault for a statement that was read completely, if any; this call uses it up."""
        return self._strike(sql, in_body=False)

    def strike_body(self, beginning: str) -> bool:
        """Whether a fault cuts off the body that begins so; this call uses it up."""
        return self._strike(beginning, in_body=True) is not None

    def _strike(self, text: str, *, in_body: bool) -> Fault | None:
        for index, fault in enumerate(self._left):
            if fault.match not in text or (fault.kind == "reset_body") != in_body:
                continue
            if fault.after:
                self._left[index] = msgspec.structs.replace(fault, after=fault.after - 1)
                continue
            again = [msgspec.structs.replace(fault, times=fault.times - 1)] if fault.times > 1 else []
            self._left[index : index + 1] = again
            return fault
        return None
