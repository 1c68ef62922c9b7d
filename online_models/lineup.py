"""The model and its challengers: all predict and learn the same rows, which are read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from online_models.kinds import new_model
from online_models.mixture.row_model import RowModel
from online_models.mixture.rows import Rows
from online_models.settings import LearnerSettings
from online_models.snapshot import KeptModel


@dataclass(slots=True)
class Entrant:
    """One model. It learns from the offset `start` on; None: not known before the fold begins."""

    name: str
    digest: str
    model: RowModel
    start: int | None

    def kept(self) -> KeptModel:
        """As a snapshot names it."""
        return KeptModel(self.name, self.digest, self.start or 0)


class Lineup:
    """The main model first. Challengers number the fields as it does, and none of them changes what it learns."""

    def __init__(self, settings: LearnerSettings) -> None:
        main = new_model(settings.learns.kind, settings.learns.mixture)
        self.main = main
        self.known = main.known
        self.entrants = [Entrant(settings.model, settings.learns.digest(), main, 0)]
        for each in settings.challengers:
            model = new_model(each.kind, each.mixture, main.known)
            self.entrants.append(Entrant(f"{settings.model}.{each.name}", each.digest(), model, None))

    @property
    def nbytes(self) -> int:
        """Memory that all arrays take at most."""
        return sum(each.model.nbytes for each in self.entrants)

    def begin(self, starts: Mapping[str, KeptModel], offset: int) -> None:
        """Settles from where each challenger without a state learns: as in `starts`, and not before `offset`."""
        for each in self.entrants:
            if each.start is None:
                known = starts.get(each.name)
                again = known is not None and each.digest.startswith(known.digest)
                each.start = max(offset, known.start if known is not None and again else offset)

    def next_start(self, offset: int) -> int | None:
        """The lowest offset above this one at which a challenger begins."""
        return min(
            (each.start for each in self.entrants if each.start is not None and each.start > offset), default=None
        )

    def run(self, rows: Rows, *, offset: int) -> list[NDArray[np.float64] | None]:
        """What each model predicts of rows of records up to this offset, which it then learns; None: not begun."""
        return [
            each.model.run(each.model.selected(rows)) if each.start is not None and each.start <= offset else None
            for each in self.entrants
        ]

    def snapshots(self) -> list[bytes]:
        """The state of each."""
        return [each.model.snapshot() for each in self.entrants]

    def restore(self, kept: Sequence[KeptModel], snapshots: Sequence[bytes]) -> list[int | None]:
        """Takes the states of models with the same name and settings; returns where each was, None: it is new."""
        places = {(each.name, each.digest): number for number, each in enumerate(kept)}
        found = [places.get((each.name, each.digest)) for each in self.entrants]
        # Before a state of the main model is taken, which numbers the fields of all.
        for each, place in zip(self.entrants, found, strict=True):
            if place is not None:
                each.model.restore(snapshots[place])
                each.start = kept[place].start
        return found
