"""The model and its challengers: all predict and learn the same rows, which are read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from online_models.kinds import new_model
from online_models.mixture.kept_rows import KeptRows
from online_models.mixture.row_model import RowModel
from online_models.mixture.rows import Rows
from online_models.open_impressions import Events
from online_models.policies import LateLabels
from online_models.settings import LearnerSettings
from online_models.snapshot import KeptModel
from online_models.turns import EVERYTHING, Turn


@dataclass(slots=True)
class Entrant:
    """One model. It learns from the offset `start` on; None: not known before the fold begins."""

    name: str
    digest: str
    model: RowModel
    late: LateLabels
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
        self.entrants = [Entrant(settings.model, settings.learns.digest(), main, LateLabels(main, settings.policy), 0)]
        for each in settings.challengers:
            model = new_model(each.kind, each.mixture, main.known)
            late = LateLabels(model, settings.policy)
            self.entrants.append(Entrant(f"{settings.model}.{each.name}", each.digest(), model, late, None))

    @property
    def nbytes(self) -> int:
        """Memory that all arrays take at most, with the rows that are kept now."""
        return sum(each.model.nbytes + each.late.kept.nbytes for each in self.entrants)

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

    def follow(self, events: Events, rows: Rows, *, offset: int) -> tuple[list[NDArray[np.float64] | None], int]:
        """The same by events: the prediction that belongs to each, and how many negatives the main model reversed."""
        found = [
            each.late.run(events, each.model.selected(rows))
            if each.start is not None and each.start <= offset
            else None
            for each in self.entrants
        ]
        main = found[0]
        return [each and each[0] for each in found], main[1] if main is not None else 0

    def keep_only(self, serials: NDArray[np.int64]) -> None:
        """All other impressions were forgotten."""
        for each in self.entrants:
            each.late.kept.only(serials)

    def columns(self, turn: Turn = EVERYTHING) -> list[bytes]:
        """What the turn selects: the state of each model, then the rows that each keeps."""
        kept = [column for each in self.entrants for column in each.late.kept.columns(turn)]
        return [each.model.snapshot(turn) for each in self.entrants] + kept

    def saved(self) -> None:
        """What `columns` would give now is saved."""
        for each in self.entrants:
            each.model.saved()
            each.late.kept.saved()

    def restore(
        self, kept: Sequence[KeptModel], saved: Sequence[Sequence[bytes]], serials: NDArray[np.int64]
    ) -> list[int | None]:
        """Takes the states of models with the same name and settings; returns where each was, None: it is new.

        `saved` are columns by turns in their order, `serials` those of the open impressions.
        """
        places = {(each.name, each.digest): number for number, each in enumerate(kept)}
        found = [places.get((each.name, each.digest)) for each in self.entrants]
        # Before a state of the main model is taken, which numbers the fields of all.
        for each, place in zip(self.entrants, found, strict=True):
            if place is not None:
                each.model.restore(*(columns[place] for columns in saved))
                rows = slice(len(kept) + place * KeptRows.column_count, len(kept) + (place + 1) * KeptRows.column_count)
                each.late.kept.restore([columns[rows] for columns in saved], serials)
                each.start = kept[place].start
        return found
