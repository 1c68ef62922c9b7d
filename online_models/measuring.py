"""The metrics of windows that were closed: records of `ads.model_metrics`, drift, and the last day of each model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from online_models.drift import DriftState
from online_models.lineup import Entrant
from online_models.metrics import Scores, score
from online_models.paired import Paired, paired
from online_models.release import Recent, last_day
from online_models.settings import LearnerSettings
from online_models.windows import Window
from schemas.codec import encode
from schemas.models import ModelMetrics
from schemas.records import Out


class Measuring:
    """Measures of all models. `drift` and `recent` are part of the state.

    `recent` has the windows of each model's last day. `last` is the last window of each, by name, for the shell's
    gauges.
    """

    def __init__(self, settings: LearnerSettings, shard: int, entrants: Sequence[Entrant]) -> None:
        self.drift = DriftState()
        self.recent: list[list[Recent]] = [[] for _ in entrants]
        self.last: dict[str, ModelMetrics] = {}
        self._settings, self._shard, self._entrants = settings, shard, entrants

    def metrics(self, start_ms: int, window: Window, *, version: int) -> Iterator[Out]:
        """The metrics of a window: of the main model by slice, 'all' first, then of each challenger."""
        settings = self._settings
        for name, scores in window.scores(settings.slices, max_slices=settings.max_slices):
            if name == "all":
                self.drift = self.drift.after(clicks=scores.clicks, predicted_clicks=scores.predicted_clicks)
            yield self._metric(0, start_ms, name, scores, version=version)
        for name, scores in window.beside_served():
            yield self._metric(0, start_ms, name, scores, version=version)
        for number in range(1, len(self._entrants)):
            labels, weights, predicted = window.columns_of(number)
            if len(labels):
                main = window.columns_of(0)[2][-len(labels) :]
                scores = score(predicted, labels=labels, weights=weights)
                sums = paired(predicted, main, labels=labels, weights=weights)
                yield self._metric(number, start_ms, "all", scores, version=version, sums=sums)

    def _metric(
        self, number: int, start_ms: int, name: str, scores: Scores, *, version: int, sums: Paired | None = None
    ) -> Out:
        entrant, main = self._entrants[number], self._entrants[0]
        metrics = ModelMetrics(
            model=entrant.name,
            shard=self._shard,
            version=version,
            window_start=start_ms,
            window_end=start_ms + self._settings.window_ms,
            slice=name,
            settings=entrant.digest,
            **msgspec.structs.asdict(scores),
        )
        if name == "all":
            self.recent[number] = last_day(self.recent[number], Recent.of(start_ms, scores))
            self.last[entrant.name] = metrics
        else:
            metrics = msgspec.structs.replace(metrics, bins=[])
        if sums is not None:
            metrics = msgspec.structs.replace(
                metrics,
                against=main.name,
                against_settings=main.digest,
                loss_difference=sums.loss,
                weight_squared=sums.weight_squared,
                loss_products=sums.loss_products,
                loss_squared=sums.loss_squared,
            )
        return Out("model_metrics", f"{entrant.name}/{self._shard}/{start_ms}/{name}".encode(), encode(metrics))
