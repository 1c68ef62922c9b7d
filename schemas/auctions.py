"""An impression in a log of auctions, as `clickfold whatif` reads it."""

from __future__ import annotations

from typing import Annotated

import msgspec

from schemas.events import Id, Micros, TsMs


class LoggedImpression(msgspec.Struct, frozen=True):
    """An impression that was won. `admit` and `price_to_beat_micros` say what others would have cost or won."""

    ts: TsMs
    """When it was shown."""
    campaign_id: Id
    """The campaign that won."""
    price_micros: Micros
    """What a click on it costs."""
    clicked: bool | Annotated[int, msgspec.Meta(ge=0, le=1)]
    """Whether it was clicked."""
    pctr: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """Predicted click rate."""
    click_delay_ms: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """How long after `ts` the click came; needed where it was clicked."""
    admit: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    """The share of auctions that the campaign entered at that time."""
    price_to_beat_micros: Micros | None = None
    """The least price of a click that would have won."""
