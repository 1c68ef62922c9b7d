"""Why the join refused a line of a file, as a sentence with the value that its reader can act on.

The join says which field violated which bound. Here the value is looked at once more: milliseconds that are seconds,
ids that are numbers, prices in currency units.
"""

from __future__ import annotations

import difflib
import json
import re
from decimal import Decimal
from typing import Any, Final

from schemas.events import MAX_PRICE_MICROS, Campaign, Click, Impression
from schemas.rejects import Reason
from streams.inputs.moments import likely_ts
from streams.inputs.texts import kind_of, objects_in

_TYPES: Final = {"impressions": Impression, "clicks": Click, "campaigns": Campaign}

_FIELD: Final = re.compile(r"at `\$\.(\w+)")
_MISSING: Final = re.compile(r"missing required field `(\w+)`")
_OTHER_NAMES: Final = {
    "ts": ("timestamp", "time", "event_time", "ts_ms", "datetime", "created_at", "at", "t"),
    "impression_id": ("id", "imp_id", "request_id", "bid_id", "impid"),
    "click_id": ("id", "gclid"),
    "price_micros": ("price", "cost", "cpc", "bid", "spend", "cost_micros"),
    "campaign_id": ("campaign", "cid"),
    "creative_id": ("creative", "ad_id", "crid"),
}
_SHOWN_CHARS: Final = 60
# Above it a price with a fraction is no amount of a currency for one click.
_LARGEST_UNITS: Final = 10_000
_MICROS: Final = 1_000_000


def why(log: str, line: bytes, reason: Reason, detail: str) -> str:
    """The sentence for a line of `log` that was refused for `reason`; `detail` is what the join said of it."""
    if reason is not Reason.UNDECODABLE:
        return detail
    try:
        # Decimal keeps the digits that a float would lose.
        fields = json.loads(line, parse_float=Decimal)
    except (ValueError, RecursionError):
        return _no_json(line, detail)
    if not isinstance(fields, dict):
        return f"{_shown(fields)} is no JSON object; give one object a line"
    missing = _MISSING.search(detail)
    if missing is not None:
        return _without(log, fields, missing[1])
    field = _FIELD.search(detail)
    if field is None or field[1] not in fields:
        return detail
    return _wrong(field[1], fields[field[1]], detail)


def _no_json(line: bytes, detail: str) -> str:
    if objects_in(line) > 1:
        return "several objects are on one line; give one object a line"
    begin = line[:_SHOWN_CHARS].decode("utf-8", "replace")
    return f"{begin!r} is no JSON object: {detail}"


def _without(log: str, fields: dict[str, Any], name: str) -> str:
    kind = kind_of(fields)
    if kind not in (None, log):
        return f"{name} is missing: the line looks like one of {kind}; give it as --{kind}"
    for outer, inner in fields.items():
        first = inner[0] if isinstance(inner, list) and inner else inner
        if isinstance(first, dict) and name in first:
            return f"{name} is missing: it is inside {outer!r}; give one flat object a line"
    others = [other for other in fields if other.lower() in _OTHER_NAMES.get(name, ())]
    close = difflib.get_close_matches(name, [other for other in fields if other not in _names(log)], n=1, cutoff=0.75)
    for other in (*close, *others):
        unit = f" {_price(name, fields[other])}" if name.endswith("_micros") else ""
        return f"{name} is missing; is it {other!r}, which is {_shown(fields[other])}? Name it {name}.{unit}".rstrip(
            "."
        )
    have = ", ".join(map(repr, list(fields)[:6]))
    return f"{name} is missing; the line has {have or 'no fields'}"


def _names(log: str) -> tuple[str, ...]:
    return _TYPES[log].__struct_fields__


def _wrong(name: str, value: Any, detail: str) -> str:
    if value is None:
        return f"{name} is null; it is required"
    if name in ("ts", "start", "end"):
        return likely_ts(name, value)
    if name.endswith("_micros"):
        return _price(name, value)
    if name.endswith("_id") and isinstance(value, int | Decimal) and not isinstance(value, bool):
        return f'{name} {value} is a number; ids are strings: write "{value}"'
    if name == "pctr" and isinstance(value, int | Decimal) and 1 < value <= 100:
        return f"pctr {value} is above 1 and looks like percent; give a share such as {Decimal(value) / 100}"
    return f"{name} is {_shown(value)}: {detail[0].lower()}{detail[1:]}"


def _price(name: str, value: Any) -> str:
    """What is wrong with an amount of money."""
    number = value
    if isinstance(value, str):
        number = _number(value)
        if number is None:
            return f"{name} is {_shown(value)}, which is no number; clickfold wants integer micros: 0.35 is 350000"
    if isinstance(number, bool) or not isinstance(number, int | Decimal):
        return f"{name} is {_shown(value)}; clickfold wants integer micros: 0.35 is 350000"
    if number < 0:
        return f"{name} is {_shown(value)}, below 0; give the amount that a click costs"
    if number > MAX_PRICE_MICROS:
        return f"{name} is {_shown(value)}, above {MAX_PRICE_MICROS}, a million currency units"
    if number == int(number):
        text = f" is text; give the number {int(number)} without quotes" if isinstance(value, str) else ""
        return f"{name} {_shown(value)}{text}; clickfold wants integer micros, millionths of the currency"
    if number < _LARGEST_UNITS:
        micros = round(number * _MICROS)
        return f"{name} {_shown(value)} looks like currency units; clickfold wants integer micros: {micros}"
    return f"{name} {_shown(value)} is no whole number; clickfold wants integer micros: {round(number)}"


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text.strip())
    except ArithmeticError:
        return None
    return number if number.is_finite() else None


def _shown(value: Any) -> str:
    """The value as JSON writes it, cut to what fits a line."""
    text = str(value) if isinstance(value, Decimal) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
