"""Amounts of money in any unit to whole micros."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from schemas.events import MAX_PRICE_MICROS
from streams.mapping.values import Unfit, comma_number, number, shown

UNITS: Final = {"micros": 1, "cents": 10_000, "units": 1_000_000}
# Products of floats below it are exact to a thousandth, far from the half where rounding turns.
_FLOAT_MICROS: Final = 1e9
_NEAR_HALF: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Money:
    """Reads amounts in `unit`, rounded to the nearest micro; half of one to the even.

    `cpm`: the amount is for a thousand impressions. `click_rate`: a click costs what the impressions cost that it
    takes, so the amount is divided by it. Without a unit the amount must be whole micros, as in clickfold's own form.
    `decimal`: a comma where texts have one before the fraction. `currency`: what a text may have at one of its ends.
    """

    unit: str = ""
    cpm: bool = False
    click_rate: float | None = None
    decimal: str = ""
    currency: str = ""

    def one(self, value: Any, click_rate: Any = None) -> int:
        """The amount in micros. Raises Unfit."""
        amount = self.amount(value)
        if not self.unit and not isinstance(amount, int):
            raise Unfit(f'{shown(value)} has a fraction; give its unit: "micros", "cents" or "units"')
        micros = round(Fraction(amount) * self.factor(click_rate))
        if micros < 0:
            raise Unfit(f"{shown(value)} is below 0")
        if micros > MAX_PRICE_MICROS:
            raise Unfit(f"{shown(value)}{f' {self.unit}' if self.unit else ''} is above a million currency units")
        return micros

    def amount(self, value: Any) -> int | Decimal:
        """The amount as it is written, in its own unit. Raises Unfit."""
        if isinstance(value, str) and self.currency:
            bare = value.strip()
            cut = (
                bare.removeprefix(self.currency) if bare.startswith(self.currency) else bare.removesuffix(self.currency)
            )
            value = cut.strip()
        return comma_number(value) if self.decimal else number(value)

    def many(self, values: Sequence[Any], types: set[type]) -> list[int] | None:
        """Many amounts at once; None where each must be looked at."""
        if types == {int} and not self.cpm and self.click_rate is None:
            micros = UNITS[self.unit or "micros"]
            found = list(values) if micros == 1 else [value * micros for value in values]
            return found if min(found) >= 0 and max(found) <= MAX_PRICE_MICROS else None
        if types == {float} and self.unit:
            factor = float(self.factor())
            return [self._near(value, factor) for value in values]
        return None

    def _near(self, value: float, factor: float) -> int:
        product = value * factor
        if 0.0 <= product < _FLOAT_MICROS and abs(product - math.floor(product) - 0.5) > _NEAR_HALF:
            return round(product)
        return self.one(value)

    def factor(self, click_rate: Any = None) -> Fraction:
        """How many micros the amount 1 is, before rounding; `click_rate` in place of that of all. Raises Unfit."""
        factor = Fraction(UNITS[self.unit or "micros"], 1_000 if self.cpm else 1)
        rate = self.click_rate if click_rate is None else click_rate
        if rate is None:
            return factor
        share = Fraction(number(rate))
        if not 0 < share <= 1:
            raise Unfit(f"the click rate {shown(rate)} is not above 0 and at most 1")
        return factor / share
