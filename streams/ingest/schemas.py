"""The schemas of a source's values: decoders by schema, and which records cannot be decoded before one is fetched."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.errors import Transient
from schemas.reading import Unreadable
from schemas.records import Headers
from schemas.rejects import Reason
from streams.ingest.forms import SchemaText, decoder_of
from streams.ingest.framed import Decode, SchemaId, schema_of
from streams.ingest.said import frames
from streams.ingest.values import Values
from streams.mapping.compiled import Compiled
from streams.mapping.rows import ReadValues, Rows

# A registry of several servers may know a schema a moment later: then it is asked again.
_GONE_S: Final = 30.0
# Values that only look like framed ones would fill the memory with numbers of schemas.
_MOST_KNOWN: Final = 10_000
# So many schemas are fetched in one go, and no further one once it took so long: meanwhile a worker reads nothing and
# sees no signal. The last one may take longer, see `Registry.fetch`.
_MOST_IN_A_GO: Final = 200
GO_S: Final = 2.0


class StillLearning(Transient):
    """Some schemas are yet to be fetched. Ask again at once: those that were fetched are known."""


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

    def unknown(self, values: Sequence[bytes | None], headers: Sequence[Headers] | None = None) -> set[SchemaId]:
        """The schemas of these values that must be fetched, or are worth another look, before they are decoded."""
        return {schema for schema in _schemas(values, headers) if self._is_unknown(schema)}

    def learn(
        self,
        values: Sequence[bytes | None],
        headers: Sequence[Headers] | None = None,
        *,
        until_s: float | None = None,
    ) -> None:
        """Fetches the schemas of these values that are unknown. Raises Transient, with those before it known.

        Raises StillLearning where they are too many for one go. It ends at `until_s` of the clock, once one is
        fetched.
        """
        until_s = self._clock_s() + GO_S if until_s is None else until_s
        # Those first without which a value cannot be decoded.
        wanted = sorted(self.unknown(values, headers), key=self._known.__contains__)
        for done, schema in enumerate(wanted):
            if done and (done >= _MOST_IN_A_GO or self._clock_s() >= until_s):
                # Another look at one that was gone may wait: until then its values have no schema. Otherwise more of
                # them than can be asked for in that time would be asked for for ever.
                if left := sum(one not in self._known for one in wanted[done:]):
                    raise StillLearning(f"{left:,} schemas are yet to be fetched from the registry")
                break
            made = self._made(schema)
            self._known.pop(schema, None)
            self._known[schema] = made

    def learn_all(self, values: Sequence[bytes | None], headers: Sequence[Headers] | None = None) -> None:
        """As `learn`, in as many goes as it takes. For who has nothing else to do."""
        self.forget_oldest()
        while True:
            try:
                return self.learn(values, headers)
            except StillLearning:
                continue

    def forget_oldest(self) -> None:
        """Forgets what is more than may be remembered. Values that are yet to be decoded must be learned again."""
        for schema in list(self._known)[: max(0, len(self._known) - _MOST_KNOWN)]:
            del self._known[schema]

    def decoder(self, schema: SchemaId) -> Decode | Unreadable:
        """What decodes values of a schema that was learned, or why they cannot be."""
        known = self._known[schema]
        return Unreadable(Reason.SCHEMA, known.why) if isinstance(known, _Unusable) else known

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


def _schemas(values: Sequence[bytes | None], headers: Sequence[Headers] | None) -> set[SchemaId]:
    return {framed.schema for framed in frames(values, headers) if framed is not None}


def reading(inputs: Iterable[Compiled], schemas: Schemas | None, *, with_headers: bool) -> ReadValues:
    """What reads the values of a topic for a command, for these mappings or, without any, whole.

    It raises Transient when a registry that is needed does not answer. Without a registry, JSON behind the number of a
    schema is read as JSON.
    """
    values = Values(inputs, schemas)

    def read(found: Sequence[bytes | None], headers: Sequence[Headers]) -> tuple[Rows, Mapping[int, Unreadable]]:
        own = headers if with_headers else None
        if schemas is None:
            found = list(map(_json_of, found))
        else:
            schemas.learn_all(found, own)
        return values.rows(found, own)

    return read


def _json_of(value: bytes | None) -> bytes | None:
    framed = schema_of(value)
    if value is None or framed is None:
        return value
    body = value[framed.start :]
    return body if body.lstrip().startswith(b"{") else value
