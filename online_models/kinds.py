"""The models that learn rows of outcomes, by the names that settings and published models give them."""

from __future__ import annotations

from typing import Final

from online_models.mixture.model import Mixture
from online_models.mixture.plain import Ftrl
from online_models.mixture.row_model import RowModel
from online_models.mixture.rows import Fields
from online_models.mixture.settings import DEFAULTS, MixtureSettings
from schemas.errors import SettingsError

KINDS: Final[dict[str, type[RowModel]]] = {made.kind: made for made in (Mixture, Ftrl)}


def check_kind(kind: str) -> None:
    """Raises SettingsError for a kind that there is not."""
    if kind not in KINDS:
        raise SettingsError(f"a model of kind {kind!r} is not known; give {' or '.join(KINDS)}")


def new_model(kind: str, settings: MixtureSettings = DEFAULTS, known: Fields | None = None) -> RowModel:
    """A model that has learned nothing yet; with `known`, of rows that are read for another model too.

    Raises SettingsError for a kind that there is not.
    """
    check_kind(kind)
    return KINDS[kind](settings, known)
