"""The TOML of `--config`, of the command and the worker `learn`: what it may say, the default, and each mistake."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from online_models.kinds import check_kind
from online_models.mixture.layout import NAMED
from online_models.mixture.settings import DEFAULTS, WHOLE, MixtureSettings
from online_models.open_impressions import DEFAULT_POLICY, POLICIES, Policy
from online_models.settings import Challenger, LearnerSettings, ModelSettings
from schemas.bounds import parse_duration_ms
from schemas.errors import SettingsError

SLICES: Final = ("campaign_id",)
_REMEDY: Final = "`clickfold models config` prints all settings"


class ModelConfig(msgspec.Struct, frozen=True):
    """What a file declares: the model, its challengers, and the fields to measure by."""

    learns: ModelSettings = ModelSettings()
    slices: tuple[str, ...] = SLICES
    policy: Policy = DEFAULT_POLICY
    challengers: tuple[Challenger, ...] = ()

    def learner(self, *, kind: str | None = None, grace_ms: int) -> LearnerSettings:
        """The settings of a worker. Its labels come in time, by `policy`, so `delay` is of no use to it."""
        learns = self.learns if kind is None else msgspec.structs.replace(self.learns, kind=kind)
        return LearnerSettings(
            learns=_at_once(learns),
            challengers=tuple(map(_at_once, self.challengers)),
            slices=self.slices,
            policy=self.policy,
            grace_ms=grace_ms,
        )


M = TypeVar("M", bound=ModelSettings)


def _at_once(model: M) -> M:
    return msgspec.structs.replace(model, mixture=msgspec.structs.replace(model.mixture, delay_ms=0))


@dataclass(frozen=True, slots=True)
class _Setting:
    """A key of the file. `take` gives the value as the program has it; it raises SettingsError without the key."""

    take: Callable[[Any], Any]
    default: Any
    comment: str


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise SettingsError(f"is {_shown(value)}; give a whole number, such as 100")
    return value


def _on(value: Any) -> bool:
    if not isinstance(value, bool):
        raise SettingsError(f"is {_shown(value)}; give true or false")
    return value


def _kind(value: Any) -> str:
    if not isinstance(value, str):
        raise SettingsError(f'is {_shown(value)}; give a text, such as "mixture"')
    check_kind(value)
    return value


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise SettingsError(f'is {_shown(value)}; give a list of texts, such as ["campaign_id"]')
    return tuple(value)


def _slices(value: Any) -> tuple[str, ...]:
    found = _names(value)
    check_slices(found)
    return found


def _policy(value: Any) -> str:
    if value not in POLICIES:
        raise SettingsError(f"is {_shown(value)}; give {', '.join(POLICIES[:-1])} or {POLICIES[-1]}")
    return str(value)


def _delay(value: Any) -> int:
    if not isinstance(value, str):
        raise SettingsError(f'is {_shown(value)}; give a duration as text, such as "30m"')
    try:
        return parse_duration_ms(value)
    except SettingsError as error:
        raise SettingsError(f"is no duration: {error}") from error


def _whole_setting(field: str, comment: str) -> _Setting:
    """A whole number of the model; `{}` in the comment becomes its bounds."""
    _, least, most = WHOLE[field]
    return _Setting(_whole, getattr(DEFAULTS, field), comment.format(f"{least} to {most}"))


# By section and key, in the order of the file. A key is that of `ModelConfig` or of `MixtureSettings`.
_SETTINGS: Final[Mapping[str, Mapping[str, _Setting]]] = {
    "": {
        "kind": _Setting(
            _kind,
            "mixture",
            "What learns: mixture, ftrl, which is FTRL alone, or a River classifier by its dotted name, such as\n"
            "# river.linear_model.LogisticRegression; it takes fields, numbers and slices, and is 50 times slower.",
        ),
        "slices": _Setting(_slices, list(SLICES), f"Fields to measure by: some of {', '.join(NAMED)}."),
        "delay": _Setting(_delay, "0s", "How long after an impression was shown its label is known, up to 31d."),
    },
    "labels": {
        "policy": _Setting(
            _policy,
            DEFAULT_POLICY,
            "When the worker learns that an impression was not clicked. matched: after as long as clicks take, and it\n"
            "# is taken back if a click comes later. reversal: at once, and taken back. fake_negative: at once, for\n"
            "# good. wait: when the window has passed, and clicks as late; so is a log without shown impressions.",
        ),
    },
    "fields": {
        "only": _Setting(
            _names,
            [],
            "With names, all other fields are left out. Names: campaign_id, creative_id, placement, country, device,\n"
            "# hour, and features.NAME; features.tag_ is all booleans whose names begin with tag_.",
        ),
        "leave_out": _Setting(_names, [], "These fields are left out. Give this or `only`."),
    },
    "numbers": {
        "as_categories": _Setting(
            _names, [], "Numbers that are names, as features.NAME: each value is a category of its own."
        ),
    },
    "crosses": {
        "kept": _whole_setting("kept", "Pairs of fields that are counted, {}; 0: no pairs at all."),
        "kept_early": _whole_setting("kept_early", "The same in the first 10,000 rows."),
    },
    "hash": {
        "slot_bits": _whole_setting("slot_bits", "Categories are hashed into 2^slot_bits slots, {}."),
        "pair_bits": _whole_setting("pair_bits", "Pairs of categories into 2^pair_bits, {}."),
    },
    "experts": {
        "bayes": _Setting(_on, True, "Bayesian logistic regression, at three prior variances."),
        "ftrl": _Setting(_on, True, "FTRL-proximal."),
        "adagrad": _Setting(_on, True, "A linear model that also sees the pairs of fields."),
        "counts": _Setting(_on, True, "Clicks and rows of each category."),
        "novelty": _Setting(_on, True, "How often a category was seen before."),
    },
}
_MODEL_NAMES: Final = {"delay": "delay_ms"}
_CHALLENGERS: Final = "challengers"
_EXAMPLE: Final = """
# Models that learn beside this one from the same outcomes, in the worker `learn`, any number of them; `clickfold models
# compare` says which is better. Each has a name, and what it leaves out is as above.
# [[challengers]]
# name = "no-pairs"
# crosses.kept = 0
"""


def default_text() -> str:
    """The default configuration as TOML with comments. Read again, it gives the defaults."""
    lines = [
        "# The click model of the command and the worker `learn`, as it is without a file. What a file leaves out",
        "# stays as it is here.",
    ]
    for section, settings in _SETTINGS.items():
        lines += ["", f"[{section}]"] if section else [""]
        for name, setting in settings.items():
            lines += [f"# {setting.comment}", f"{name} = {json.dumps(setting.default)}"]
    return "\n".join(lines) + "\n" + _EXAMPLE


def read_config(path: Path) -> ModelConfig:
    """The configuration of a file. Raises SettingsError: one sentence with file, key, value, bound and remedy."""
    try:
        return config_of(tomllib.loads(path.read_bytes().decode()))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}; check its path and rights") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is no TOML: {error}; {_REMEDY}") from error
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error


def config_of(document: Mapping[str, Any]) -> ModelConfig:
    """The configuration of a TOML document. Raises SettingsError without the name of the file."""
    main = dict(document)
    challengers = main.pop(_CHALLENGERS, [])
    taken = dict(_taken(main))
    slices, policy = taken.pop("slices", SLICES), taken.pop("policy", DEFAULT_POLICY)
    return ModelConfig(ModelSettings(**_model(taken)), slices, policy, tuple(_challengers(taken, challengers)))


def _model(taken: Mapping[str, Any]) -> dict[str, Any]:
    rest = {_MODEL_NAMES.get(name, name): value for name, value in taken.items() if name != "kind"}
    return {"kind": taken.get("kind", "mixture"), "mixture": MixtureSettings(**rest)}


def _challengers(main: Mapping[str, Any], found: Any) -> Iterator[Challenger]:
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise SettingsError(f"{_CHALLENGERS} is {_shown(found)}; write [[{_CHALLENGERS}]] on a line of its own")
    for number, each in enumerate(found, 1):
        own = dict(each)
        name = own.pop("name", None)
        if not isinstance(name, str):
            raise SettingsError(f'challenger {number} has the name {_shown(name)}; give it a text, such as "b"')
        try:
            taken = dict(_taken(own))
            if "slices" in taken:
                raise SettingsError("slices are those of all models; give them once, at the top")
            if "policy" in taken:
                raise SettingsError("labels.policy is that of all models; give it once, for the main model")
            yield Challenger(name=name, **_model({**main, **taken}))
        except SettingsError as error:
            raise SettingsError(f"challenger {name}: {error}") from error


def check_slices(names: tuple[str, ...]) -> None:
    """Raises SettingsError if one of these names is no field to measure by."""
    for name in names:
        if name not in NAMED:
            raise SettingsError(f"slice {name!r} is not a field to measure by; give some of {', '.join(NAMED)}")


def _taken(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Name and value of each setting that the document has."""
    for name, value in document.items():
        if name in _SETTINGS[""]:
            yield name, _value("", name, value)
        elif name not in _SETTINGS or not name:
            raise _unknown(name)
        elif not isinstance(value, Mapping):
            raise SettingsError(f"{name} is {_shown(value)}; it is a section, so write [{name}] on a line of its own")
        else:
            for key, inner in value.items():
                if key not in _SETTINGS[name]:
                    raise _unknown(f"{name}.{key}")
                yield key, _value(name, key, inner)


def _value(section: str, key: str, value: Any) -> Any:
    name = f"{section}.{key}" if section else key
    try:
        return _SETTINGS[section][key].take(value)
    except SettingsError as error:
        raise SettingsError(f"{name} {error}") from error


def _unknown(name: str) -> SettingsError:
    known = [f"{section}.{key}".lstrip(".") for section, keys in _SETTINGS.items() for key in keys]
    # A key that stands in no section, or in another one.
    misplaced = [each for each in known if each.rpartition(".")[2] == name.rpartition(".")[2]]
    near = misplaced or difflib.get_close_matches(name, [*known, *filter(None, _SETTINGS)], n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    return SettingsError(f"{name[:80]!r} is no setting; {meant}{_REMEDY}")


def _shown(value: Any) -> str:
    return repr(value)[:80]
