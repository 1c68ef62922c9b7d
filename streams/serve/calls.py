"""Bodies of calls: checked by msgspec in one pass, and a refusal that names the field."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec

from schemas.events import MAX_FEATURE_CHARS, MAX_ID_CHARS, FeatureValue, decode_event
from schemas.serving import PredictCall, Refused, check_call

_SHOWN_CHARS: Final = 60


class BadCall(NamedTuple):
    """The status of the answer, and what it says."""

    status: HTTPStatus
    refused: Refused


def read_call(body: bytes) -> PredictCall | BadCall:
    """The call in a body, or why it has no answer: 400 for what is no JSON, 422 for a field that is wrong."""
    try:
        call = decode_event(body, PredictCall)
    except RecursionError:
        return BadCall(HTTPStatus.UNPROCESSABLE_ENTITY, Refused("the call is nested too deeply; see /openapi.json"))
    except msgspec.ValidationError as error:
        return BadCall(HTTPStatus.UNPROCESSABLE_ENTITY, _feature(body) or _wrong(str(error)))
    # Also where a text is not UTF-8.
    except ValueError as error:
        # NaN and Infinity are no JSON, but many programs write them.
        refused = _feature(body)
        if refused is not None:
            return BadCall(HTTPStatus.UNPROCESSABLE_ENTITY, refused)
        return BadCall(HTTPStatus.BAD_REQUEST, Refused(f"the body cannot be read: {error}; send one object of JSON"))
    wrong = check_call(call)
    return call if wrong is None else BadCall(HTTPStatus.UNPROCESSABLE_ENTITY, wrong)


def _wrong(text: str) -> Refused:
    """msgspec's sentence, with the path that stands at its end in front."""
    what, _, where = text.partition(" - at ")
    field = where.replace("`key` in ", "").strip("`").removeprefix("$").removeprefix(".")
    what = what[:1].lower() + what[1:]
    return Refused(f"{field or 'the call'}: {what}; see /openapi.json", field or None)


def _feature(body: bytes) -> Refused | None:
    """The first feature that is wrong. msgspec says where it is, but not its name."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        return None
    for place, features in _all_features(given):
        for name, value in features.items():
            if not _usable(value):
                field = f"{place}.{name[:MAX_ID_CHARS]}"
                return Refused(
                    f"{field} is {_shown(value)}; give text of at most {MAX_FEATURE_CHARS:,} characters, a boolean, or "
                    "a finite number",
                    field,
                )
    return None


def _all_features(given: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(given, dict):
        return
    if isinstance(given.get("features"), dict):
        yield "features", given["features"]
    candidates = given.get("candidates")
    for number, candidate in enumerate(candidates if isinstance(candidates, list) else ()):
        if isinstance(candidate, dict) and isinstance(candidate.get("features"), dict):
            yield f"candidates[{number}].features", candidate["features"]


def _usable(value: Any) -> bool:
    try:
        found = msgspec.convert(value, FeatureValue)
    except msgspec.ValidationError:
        return False
    return not isinstance(found, float) or math.isfinite(found)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
