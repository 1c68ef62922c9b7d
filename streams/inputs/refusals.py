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

from schemas.events import MAX_BUDGET_MICROS, MAX_ID_CHARS, MAX_PRICE_MICROS, Campaign, Click, Impression
from schemas.rejects import Reason
from streams.inputs.malformed import malformed
from streams.inputs.moments import likely_ts
from streams.inputs.texts import kind_of

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
_CHOICES: Final = {"status": ("active", "paused"), "pacing": ("even", "asap")}
# Above it a price with a fraction is no amount of a currency for one click.
_LARGEST_UNITS: Final = 10_000
_MICROS: Final = 1_000_000


def why(log: str, line: bytes, reason: Reason, detail: str) -> str:
    """The sentence for a line of `log` that was refused for `reason`; `detail` is what the join said of it."""
    if reason is Reason.CONFLICT:
        return _conflict(log, line, detail)
    if reason is not Reason.UNDECODABLE:
        return detail
    try:
        # Decimal keeps the digits that a float would lose.
        fields = json.loads(line, parse_float=Decimal)
    except (ValueError, RecursionError):
        return malformed(line, detail)
    if not isinstance(fields, dict):
        return f"{shown(fields)} is no JSON object; give one object a line"
    missing = _MISSING.search(detail)
    if missing is not None:
        return _without(log, fields, missing[1])
    field = _FIELD.search(detail)
    if field is None or field[1] not in fields:
        # Python's decoder takes more than JSON: NaN, single surrogates, numbers of any size.
        return malformed(line, detail)
    return _wrong(field[1], fields[field[1]])


def _conflict(log: str, line: bytes, detail: str) -> str:
    name = "click_id" if log == "clicks" else "impression_id"
    try:
        value = json.loads(line)[name]
    except (ValueError, RecursionError, KeyError, TypeError):  # only the beginning of a line is kept
        return detail
    return f"{name} {shown(value)} came before with other content"


def _without(log: str, fields: dict[str, Any], name: str) -> str:
    kind = kind_of(fields)
    if kind not in (None, log):
        return f"{name} is missing: the line looks like one of {kind}; give it as --{kind}"
    for outer, inner in fields.items():
        first = inner[0] if isinstance(inner, list) and inner else inner
        if isinstance(first, dict) and name in first:
            return f"{name} is missing: it is inside {outer!r}; give one flat object a line"
    others = [other for other in fields if other.lower() in _OTHER_NAMES.get(name, ())]
    # impressionId, IMPRESSION_ID and impression-id are near impression_id.
    spelled = {_plain(other): other for other in fields if other not in _names(log)}
    close = [spelled[near] for near in difflib.get_close_matches(_plain(name), spelled, n=1, cutoff=0.75)]
    for other in (*close, *others):
        unit = f" {_price(name, fields[other])}" if name.endswith("_micros") else ""
        return f"{name} is missing; is it {other!r}, which is {shown(fields[other])}? Name it {name}.{unit}".rstrip(".")
    have = ", ".join(map(repr, list(fields)[:6]))
    return f"{name} is missing; the line has {have or 'no fields'}"


def _plain(name: str) -> str:
    """A name of a field without what spellings differ in."""
    return re.sub(r"[\W_]", "", name).lower()


def _names(log: str) -> tuple[str, ...]:
    return _TYPES[log].__struct_fields__


def _wrong(name: str, value: Any) -> str:
    if value is None:
        return f"{name} is null; it is required"
    if name in ("ts", "start", "end"):
        return likely_ts(name, value)
    if name.endswith("_micros"):
        return _price(name, value)
    number = _number(value) if isinstance(value, str) else value
    is_number = isinstance(number, int | Decimal) and not isinstance(number, bool)
    if name == "pctr":
        return _share(name, value, number)
    if name == "version":
        return f"version is {shown(value)}; give a whole number from 0 to {2**63 - 1}, without quotes"
    if name in _CHOICES:
        return f"{name} is {shown(value)}; give {' or '.join(_CHOICES[name])}"
    if isinstance(value, str):
        if not value:
            return f'{name} is "", an empty text; give each record its {name}'
        return f"{name} is {shown(value)}, {len(value):,} characters; give at most {MAX_ID_CHARS}"
    if is_number:
        what = "ids are strings" if name.endswith("_id") else "it must be a string"
        return f'{name} {value} is a number; {what}: write "{value}"'
    return f"{name} is {shown(value)}, not a string"


def _share(name: str, value: Any, number: Any) -> str:
    """What is wrong with a probability; `number` is the value, or the number that it has as text."""
    if isinstance(number, int | Decimal) and not isinstance(number, bool):
        if isinstance(value, str):
            return f"{name} {shown(value)} is text; give the number {number} without quotes"
        if 1 < number <= 100:
            return f"{name} {value} is above 1 and looks like percent; give a share such as {Decimal(number) / 100}"
    return f"{name} is {shown(value)}; give a share from 0 to 1"


def _price(name: str, value: Any) -> str:
    """What is wrong with an amount of money."""
    number = value
    if isinstance(value, str):
        number = _number(value)
        if number is None:
            return f"{name} is {shown(value)}, which is no number; clickfold wants integer micros: 0.35 is 350000"
    if isinstance(number, bool) or not isinstance(number, int | Decimal):
        return f"{name} is {shown(value)}; clickfold wants integer micros: 0.35 is 350000"
    if number < 0:
        return f"{name} is {shown(value)}, below 0; give 0 or more"
    most, units = (MAX_BUDGET_MICROS, "a billion") if "budget" in name else (MAX_PRICE_MICROS, "a million")
    if number > most:
        return f"{name} is {shown(value)}, above {most}, {units} currency units"
    if number == int(number):
        text = f" is text; give the number {int(number)} without quotes" if isinstance(value, str) else ""
        return f"{name} {shown(value)}{text}; clickfold wants integer micros, millionths of the currency"
    if number * _MICROS >= 1 and number < _LARGEST_UNITS:
        micros = round(number * _MICROS)
        return f"{name} {shown(value)} looks like currency units; clickfold wants integer micros: {micros}"
    return f"{name} {shown(value)} is no whole number; clickfold wants integer micros: {round(number)}"


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text.strip())
    except ArithmeticError:
        return None
    return number if number.is_finite() else None


def shown(value: Any) -> str:
    """The value as JSON writes it, cut to what fits a line."""
    text = str(value) if isinstance(value, Decimal) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
