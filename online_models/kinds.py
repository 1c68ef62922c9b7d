"""The models that learn rows of outcomes, by the names that settings and published models give them.

A name that begins with "river." is that of a River classifier. River takes 2 s and 117 MB to import, so it is imported
only for one.
"""

from __future__ import annotations

from typing import Final

from online_models.mixture.model import Mixture
from online_models.mixture.plain import Ftrl
from online_models.mixture.row_model import RowModel
from online_models.mixture.rows import Fields
from online_models.mixture.settings import DEFAULTS, MixtureSettings
from schemas.errors import SettingsError

_RIVER: Final = "river."
KINDS: Final[dict[str, type[RowModel]]] = {made.kind: made for made in (Mixture, Ftrl)}


def check_kind(kind: str) -> None:
    """Raises SettingsError for a kind that there is not."""
    if kind in KINDS:
        return
    if not kind.startswith(_RIVER):
        raise SettingsError(
            f"a model of kind {kind[:80]!r} is not known; give {', '.join(KINDS)}, or a classifier of River, such as "
            "river.linear_model.LogisticRegression"
        )
    new_model(kind)


def new_model(kind: str, settings: MixtureSettings = DEFAULTS, known: Fields | None = None) -> RowModel:
    """A model that has learned nothing yet; with `known`, of rows that are read for another model too.

    Raises SettingsError for a kind that there is not.
    """
    if kind.startswith(_RIVER):
        from online_models.river_model import RiverModel

        return RiverModel(kind, settings, known)
    check_kind(kind)
    return KINDS[kind](settings, known)
