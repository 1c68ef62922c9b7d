"""Histories of a join that reads its inputs through a mapping: all that befalls workers, and the same batch truth."""

from __future__ import annotations

import orjson

from streams.worker.input_maps import input_maps
from tests.simulation.producers import Producers
from tests.simulation.simulate import played
from tests.simulation.world import World

MAPPING = """
[impressions]
impression_id = "req"
ts = { path = "at", unit = "us" }
campaign_id = "ad.campaign"
creative_id = { constant = "x" }
price_micros = { path = "ad.cost", unit = "units" }
feature_patterns = ["more.*"]

[clicks]
click_id = "click"
impression_id = "req"
ts = { path = "at", unit = "us" }
"""


class OtherForm(Producers):
    """Producers of another form; now and then of clickfold's own, as a redrive sends, and one that no rule can use."""

    def value(self, log: str, event: dict[str, object]) -> bytes:
        fate = self._random.random()
        if fate < 0.05:
            return orjson.dumps(event)
        other = {"req": event["impression_id"], "at": int(str(event["ts"])) * 1_000 if fate < 0.95 else "yesterday"}
        if log == "clicks":
            return orjson.dumps(other | {"click": event["click_id"]})
        ad = {"campaign": event["campaign_id"], "cost": f"0.{int(str(event['price_micros'])):06}"}
        return orjson.dumps(other | {"ad": ad, "more": event.get("features", {})})


class MappedWorld(World):
    """Everything of one schedule of such a join."""

    maps = input_maps(MAPPING, "m.toml")

    def make_producers(self) -> OtherForm:
        return OtherForm(self.broker, self.random, wrong_clocks=self.bounds.jump_ms > 0, features=bool(self.extra))


def run(seed: int) -> tuple[MappedWorld, AssertionError | None]:
    """One history, and what is wrong with it."""
    return played(MappedWorld(seed))
