"""Mends records that were refused: by a mapping, or as they are where only their key or their time was wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from schemas.reading import Unreadable, event_of
from schemas.records import Headers
from streams.mapping.compiled import Compiled
from streams.mapping.language import EVENTS
from streams.mapping.rows import ReadValues

# As the join reads an input of another form: values of clickfold's own form, and by place why there is none.
OwnForm = Callable[[Sequence[bytes | None]], tuple[Sequence[bytes | None], Mapping[int, Unreadable]]]
_AS_THEY_ARE: Final[Mapping[str, OwnForm]] = {}


class Mended(NamedTuple):
    """A good record of an input: what to send, under which key, and its event time."""

    log: str
    key: bytes
    value: bytes
    ts_ms: int


class NotMended(NamedTuple):
    """Why a record is still refused."""

    detail: str


class Mender:
    """Makes records of the inputs from others. Without a mapping a record stays what the join reads it as."""

    def __init__(
        self,
        inputs: Mapping[str, Compiled] | None = None,
        digest: str = "",
        read: ReadValues | None = None,
        own_forms: Mapping[str, OwnForm] = _AS_THEY_ARE,
    ) -> None:
        """`read` reads the values that the mapping is for. `own_forms`: how the join reads inputs of another form."""
        self._inputs = inputs or {}
        self._read = read
        self._own_forms = own_forms
        self.digest = digest

    def as_it_is(self, log: str, value: bytes | None) -> Mended | NotMended:
        """What the join reads a record of an input as."""
        if log in self._own_forms:
            values, refused = self._own_forms[log]([value])
            if refused:
                return NotMended(refused[0].detail)
            value = values[0]
        return _read(log, value)

    def mend(self, log: str | None, value: bytes | None, headers: Headers = None) -> list[Mended] | NotMended:
        """The records that a value gives. `log` is the input that it came in, None for another topic.

        From another topic a record may give one of each input. Never an empty list. A record of an input that the
        mapping cannot use and that is good as it is stays so.
        """
        if not self._inputs:
            if log is None:
                return NotMended("it is of no input, so only a mapping can make one of it: give --map")
            found = self.as_it_is(log, value)
            return found if isinstance(found, NotMended) else [found]
        made = self._mapped(log, value, headers)
        if isinstance(made, NotMended) and log is not None:
            # Late, or under another key, and good.
            found = self.as_it_is(log, value)
            return made if isinstance(found, NotMended) else [found]
        return made

    def _mapped(self, log: str | None, value: bytes | None, headers: Headers) -> list[Mended] | NotMended:
        if log is not None and log not in self._inputs:
            return NotMended(f"the mapping has no table for {log}")
        assert self._read is not None, "a mapping without what reads its values"
        rows, unreadable = self._read([value], [headers])
        made: list[Mended] = []
        refused: list[str] = []
        for name in EVENTS if log is None else (log,):
            if name not in self._inputs:
                continue
            mapped = self._inputs[name].map(rows)
            refused += [unreadable.get(place, why).detail for place, why in mapped.refused.items()]
            for text in mapped.values:
                found = _read(name, text)
                if isinstance(found, NotMended):
                    refused.append(found.detail)
                else:
                    made.append(found)
        if refused:
            # Not half of it: what an input lacks of a record must not be lost unseen.
            return NotMended(refused[0])
        return made or NotMended("the conditions of the mapping leave it out")


def _read(log: str, value: bytes | None) -> Mended | NotMended:
    event = event_of(log, value)
    if isinstance(event, Unreadable):
        return NotMended(f"{event.reason}: {event.detail}")
    return Mended(log, event.impression_id.encode(), value or b"", event.ts)
