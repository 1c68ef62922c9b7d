"""The settings of a learner: which models learn, how they are measured and published."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
import xxhash

from online_models.kinds import check_kind
from online_models.mixture.layout import NAMED
from online_models.mixture.rows import HASH_VERSION
from online_models.mixture.settings import DEFAULTS, MixtureSettings
from online_models.open_impressions import DEFAULT_POLICY, Policy
from schemas.codec import encode
from schemas.errors import SettingsError
from schemas.topics import DAY_MS

# Raise it when a newer program would learn the same outcomes differently under the same settings.
LEARNER_VERSION: Final = 3
_NAME: Final = r"[A-Za-z0-9._-]{1,64}"
_CHALLENGER: Final = r"[A-Za-z0-9_-]{1,32}"
# The name of the copy that a rollback publishes, behind the model's.
ROLLBACK: Final = "rollback"
# Each takes 60 bytes of the mark of a commit, which has 4,000.
MOST_CHALLENGERS: Final = 40


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What learns, and with which settings. Raises SettingsError for a kind that there is not."""

    kind: str = "mixture"
    mixture: MixtureSettings = DEFAULTS

    def __post_init__(self) -> None:
        check_kind(self.kind)

    def digest(self) -> str:
        """A hash of all that decides what it learns: equal ones learn the same from the same outcomes."""
        changed: dict[str, Any] = self.mixture.changed()
        return xxhash.xxh3_64_hexdigest(encode([LEARNER_VERSION, HASH_VERSION, self.kind, changed]))


class Challenger(ModelSettings, frozen=True, kw_only=True):
    """A model that learns beside the main one, to be compared with it. Raises SettingsError for another name."""

    name: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(_CHALLENGER, self.name) or self.name == ROLLBACK:
            raise SettingsError(
                f"challenger name is {self.name!r}; give 1 to 32 letters, digits, dashes or underscores, not {ROLLBACK}"
            )


class LearnerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The models by name, and how they are measured and published. Raises SettingsError.

    A metrics window lasts `window_ms` and closes `grace_ms` after its end, in event time. `slices` are fields that
    metrics are also split by, for the `max_slices` heaviest values in a window. `publish_ms` is the least event time
    between two published versions. `policy` says when a negative is learned; see `policies`.
    """

    model: str = "ctr"
    learns: ModelSettings = ModelSettings()
    challengers: tuple[Challenger, ...] = ()
    window_ms: int = 15 * 60_000
    grace_ms: int = 15 * 60_000
    slices: tuple[str, ...] = ("campaign_id",)
    max_slices: int = 50
    publish_ms: int = 60_000
    policy: Policy = DEFAULT_POLICY

    def __post_init__(self) -> None:
        # The name is part of Kafka keys and metric labels.
        if not re.fullmatch(_NAME, self.model):
            raise SettingsError(f"model is {self.model!r}; give 1 to 64 letters, digits, dots, dashes or underscores")
        for name, value, least, most in (
            ("window_ms", self.window_ms, 1_000, 31 * DAY_MS),
            ("grace_ms", self.grace_ms, 0, 31 * DAY_MS),
            ("max_slices", self.max_slices, 0, 10_000),
            ("publish_ms", self.publish_ms, 0, 31 * DAY_MS),
            ("the number of challengers", len(self.challengers), 0, MOST_CHALLENGERS),
        ):
            if not least <= value <= most:
                raise SettingsError(f"{name} is {value}; give one from {least} to {most}")
        for name in self.slices:
            if name not in NAMED:
                raise SettingsError(f"slice {name!r} is not a field to measure by; give some of {', '.join(NAMED)}")
        if len(set(self.slices)) != len(self.slices):
            raise SettingsError(f"slices {', '.join(self.slices)} name one field twice; name each once")
        names = [each.name for each in self.challengers]
        if len(set(names)) != len(names):
            raise SettingsError(f"challengers {', '.join(names)} have one name twice; name each once")

    def digest(self) -> str:
        """A hash of all settings that decide the state: a snapshot with another digest is refused.

        `max_slices` and `publish_ms` only decide how much is written, and may be changed at any time. So may the
        challengers: one with other settings than before begins anew.
        """
        fields = [self.learns.digest(), self.window_ms, self.grace_ms, self.slices, self.policy]
        return xxhash.xxh3_64_hexdigest(encode(fields))

    def former_digests(self) -> tuple[str, ...]:
        """The digests that the versions before gave to their defaults, with this grace and these slices.

        They learned FTRL one outcome at a time; the first of them also hashed features otherwise.
        """
        ftrl = (0.05, 1.0, 1.0, 1.0, 0.01, 20)
        measured = (self.window_ms, self.grace_ms, self.slices)
        return tuple(xxhash.xxh3_64_hexdigest(encode([1, features, *ftrl, *measured])) for features in ("1", "2"))
