"""What reads the values of a field, by its kind: one value, and many at once where their type allows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from streams.mapping.language import Declared, Rule, origin_ms, zone_of
from streams.mapping.money import Money
from streams.mapping.times import Times
from streams.mapping.values import PLAIN, Unfit, comma_number, number, plain, shown, text, texts

Many = Callable[[Sequence[Any], set[type]], Sequence[Any] | None]


def reader_of(declared: Declared) -> tuple[Callable[..., Any], Many]:
    """What reads one value of a field, and what reads many if it can."""
    rule = declared.rule
    match declared.kind:
        case "time":
            times = Times(rule.unit, rule.pattern, zone_of(rule), origin_ms(rule))
            return times.one, times.many
        case "money":
            rate = rule.click_rate if isinstance(rule.click_rate, int | float) else None
            money = Money(rule.unit, rule.cpm, rate, rule.decimal, rule.currency)
            return money.one, money.many
        case "share":
            return _share, _shares
        case "feature":
            return _feature(rule), _features(rule)
        case _:
            return text, texts


def _share(value: Any) -> float:
    found = float(number(value))
    if not 0.0 <= found <= 1.0:
        raise Unfit(f"{shown(value)} is no share from 0 to 1")
    return found


def _shares(values: Sequence[Any], types: set[type]) -> Sequence[Any] | None:
    if types != {float} or min(values) < 0.0 or max(values) > 1.0:
        return None
    # -0.0 is written as 0.0, as it is beside values of other types.
    return [value + 0.0 for value in values]


def _feature(rule: Rule) -> Callable[[Any], Any]:
    if rule.as_ == "text":
        return text
    if rule.as_ == "number":
        return lambda value: _numeric(value, comma_number if rule.decimal else number)
    return plain


def _numeric(value: Any, read: Callable[[Any], int | Decimal]) -> int | float:
    found = read(value)
    return found if isinstance(found, int) else float(found)


def _features(rule: Rule) -> Many:
    if rule.as_ == "text":
        return texts
    return lambda values, types: values if not rule.as_ and types <= PLAIN else None
