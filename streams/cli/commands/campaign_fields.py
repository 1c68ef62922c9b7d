"""Options of `clickfold campaigns set` as fields of a campaign."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from schemas.errors import SettingsError
from schemas.moments import given_ms
from streams.cli.commands.options import duration_ms

_MICROS: Final = 1_000_000
# Of an amount; the largest budget has ten.
_MOST_DIGITS: Final = 15
Read = Callable[[str, str], dict[str, Any]]


def removable_fields(options: Mapping[str, str | None], there: tzinfo) -> dict[str, Any]:
    """The fields of options that take a value away when they are empty; those that are None are not given.

    `there` is the campaign's time zone: `--start` and `--end` are moments in it. Raises SettingsError.
    """
    fields: dict[str, Any] = {}
    for option, text in options.items():
        if text is None:
            continue
        names, read = _OPTIONS[option] if option in _OPTIONS else ((option[2:],), _moment(there))
        fields |= dict.fromkeys(names) if not text else read(option, text)
    return fields


def micros(option: str, text: str) -> int:
    """An amount of the currency in micros. Raises SettingsError."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    # A number of a billion digits is not written out.
    if not amount.is_finite() or amount.adjusted() > _MOST_DIGITS:
        raise SettingsError(f"{option} is {text[:60]!r}; give an amount of the currency, such as 50 or 12.50")
    whole = amount * _MICROS
    if amount.adjusted() < -_MOST_DIGITS or whole != int(whole):
        raise SettingsError(f"{option} is {text[:60]!r}, which has more than six decimals; give whole micros")
    return int(whole)


def shares(text: str) -> list[float]:
    """The shares of a curve. Raises SettingsError."""
    try:
        return [float(share) for share in text.split(",")]
    except ValueError:
        raise SettingsError(f"--curve is {text[:60]!r}; give 24 or 96 numbers with commas between them") from None


def _amount(name: str) -> Read:
    return lambda option, text: {name: micros(option, text)}


def _text(name: str) -> Read:
    return lambda _, text: {name: text}


def _moment(there: tzinfo) -> Read:
    return lambda option, text: {option[2:]: given_ms(option, text, there)}


def _shared_budget(option: str, text: str) -> dict[str, Any]:
    name, equals, amount = text.rpartition("=")
    if not equals or not name:
        raise SettingsError(f"{option} is {text[:60]!r}; give a name and an amount a day, such as spring=500")
    return {"budget_id": name, "shared_budget_micros": micros(option, amount)}


def _frequency(option: str, text: str) -> dict[str, Any]:
    count, _, period = text.partition("/")
    if not count.isascii() or not count.isdecimal() or not period:
        raise SettingsError(f"{option} is {text[:60]!r}; give a count and a period, such as 3/24h")
    return {"frequency_cap": int(count[:_MOST_DIGITS]), "frequency_period_s": duration_ms(option, period) // 1_000}


_OPTIONS: Final[Mapping[str, tuple[tuple[str, ...], Read]]] = {
    "--lifetime-budget": (("lifetime_budget_micros",), _amount("lifetime_budget_micros")),
    "--hourly-cap": (("hourly_cap_micros",), _amount("hourly_cap_micros")),
    "--dayparts": (("dayparts",), _text("dayparts")),
    "--shared-budget": (("budget_id", "shared_budget_micros", "priority"), _shared_budget),
    "--frequency": (("frequency_cap", "frequency_period_s"), _frequency),
    "--max-bid": (("max_bid_micros",), _amount("max_bid_micros")),
    "--advertiser": (("advertiser_id",), _text("advertiser_id")),
}
