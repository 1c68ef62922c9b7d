"""The schemas of a source's values: decoders by schema, and which records cannot be decoded before one is fetched."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from schemas.codec import decoder
from schemas.reading import Unreadable
from schemas.rejects import Reason
from streams.ingest.forms import Decode, SchemaText, decoder_of
from streams.ingest.framed import SchemaId, schema_of
from streams.mapping.rows import ObjectRows, Rows

# A registry of several servers may know a schema a moment later: then it is asked again.
_GONE_S: Final = 30.0
# Values that only look like framed ones would fill the memory with numbers of schemas.
_MOST_KNOWN: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Unusable:
    """Why values of a schema cannot be decoded, and when that was found."""

    why: str
    since_s: float


class Schemas:
    """Decoders by schema. `fetch` gives a schema's text, or None where there is none; it raises Transient."""

    def __init__(
        self, fetch: Callable[[SchemaId], SchemaText | None], *, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._clock_s = clock_s
        self._known: dict[SchemaId, Decode | _Unusable] = {}

    def unknown(self, values: Sequence[bytes | None]) -> set[SchemaId]:
        """The schemas of these values that must be fetched, or are worth another look, before they are decoded."""
        found = {framed[0] for value in values if value is not None and (framed := schema_of(value)) is not None}
        return {schema for schema in found if self._is_unknown(schema)}

    def learn(self, values: Sequence[bytes | None]) -> None:
        """Fetches the schemas of these values that are unknown. Raises Transient, with those before it known."""
        found = self.unknown(values)
        for schema in found:
            made = self._made(schema)
            self._known.pop(schema, None)
            self._known[schema] = made
        if len(self._known) > _MOST_KNOWN:
            used = {framed[0] for value in values if value is not None and (framed := schema_of(value)) is not None}
            for schema in [schema for schema in self._known if schema not in used][: len(self._known) - _MOST_KNOWN]:
                del self._known[schema]

    def _is_unknown(self, schema: SchemaId) -> bool:
        known = self._known.get(schema)
        return known is None or (isinstance(known, _Unusable) and self._clock_s() - known.since_s > _GONE_S)

    def _made(self, schema: SchemaId) -> Decode | _Unusable:
        text = self._fetch(schema)
        if text is None:
            return _Unusable(f"the registry has no schema {schema}", self._clock_s())
        try:
            return decoder_of(text)
        except ValueError as error:
            return _Unusable(f"schema {schema}: {error}", self._clock_s())

    def rows(
        self, values: Sequence[bytes], json: Callable[[Sequence[bytes]], Rows]
    ) -> tuple[Rows, dict[int, Unreadable]]:
        """The records of these values, of which the schemas are known, and why some are none.

        `json` reads values without a schema, all of them at once.
        """
        framed = [schema_of(value) for value in values]
        if not any(framed):
            return json(values), {}
        rows: list[Any] = [None] * len(values)
        wrong: dict[int, Unreadable] = {}
        plain = decoder(Any).decode
        for place, (value, frame) in enumerate(zip(values, framed, strict=True)):
            decode = self._known.get(frame[0]) if frame is not None else plain
            if isinstance(decode, _Unusable):
                wrong[place] = Unreadable(Reason.SCHEMA, decode.why)
                continue
            assert decode is not None, f"schema {frame} was not learned"
            try:
                row = decode(value[frame[1] :] if frame is not None else value)
            except (ValueError, RecursionError) as error:
                wrong[place] = Unreadable(Reason.UNDECODABLE, str(error))
                continue
            if isinstance(row, dict):
                rows[place] = row
            else:
                wrong[place] = Unreadable(Reason.UNDECODABLE, "it is no object with fields")
        return ObjectRows(rows, {place: each.detail for place, each in wrong.items()}), wrong
