"""The first records of a file as they are, to look at."""

from __future__ import annotations

from itertools import islice
from typing import Any

import msgspec

from streams.formats.damage import Damaged
from streams.formats.texts import texts_of
from streams.inputs.opening import Source
from streams.inputs.rows import Count, tables
from streams.mapping.language import Table
from streams.mapping.values import plain


def first_records(source: Source, most: int) -> list[Any]:
    """At most so many records. Texts that are no JSON objects are left out. Raises SettingsError for a damaged file."""
    found: list[Any] = []
    try:
        with source.open() as file:
            if source.form.is_json:
                for text in islice(texts_of(file, source.form.kind), most):
                    try:
                        record = msgspec.json.decode(text)
                    except (ValueError, RecursionError):
                        continue
                    if isinstance(record, dict):
                        found.append(record)
                return found
            for _, rows, _ in tables(source, file, Count(), most, Table(), None):
                found += [plain(rows.record(place)) for place in range(len(rows)) if place not in rows.broken]
                if len(found) >= most:
                    break
    except Damaged as error:
        raise source.damaged(len(found), error) from error
    return found[:most]
