"""Options that several commands share, each with one meaning and one help text."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from schemas.bounds import JoinBounds, parse_duration_ms
from schemas.errors import SettingsError
from schemas.totals import DIMENSIONS
from streams.inputs.given import given

if TYPE_CHECKING:
    from online_models.settings import LearnerSettings
    from streams.kafka.cluster import Cluster

FILES_HELP: Final = (
    "JSON, CSV, Parquet, ORC, Arrow or Avro; plain, .gz, .bz2 or .zst; a file, s3://…, gs://… or https://…; "
    "- is stdin. Several files are one log, in order."
)
ImpressionFiles = Annotated[list[Path], typer.Option(metavar="PATH…", parser=given, help=FILES_HELP)]
ClickFiles = Annotated[list[Path], typer.Option(metavar="PATH…", parser=given, help="The same of clicks.")]
MappingOption = Annotated[
    str,
    typer.Option(
        "--map",
        metavar="FILE",
        help="How records of another form become impressions and clicks: a TOML file, or the name of a ready mapping.",
    ),
]

Window = Annotated[str, typer.Option(help="Attribution window: how long after its impression a click still counts.")]
Skew = Annotated[str, typer.Option(help="How much earlier than its impression a click may be stamped.")]
Lateness = Annotated[
    str, typer.Option(help="How far behind the newest record of its log a record is still accepted, in event time.")
]
Future = Annotated[str, typer.Option(help="How far ahead of its Kafka timestamp the event time of a record may be.")]
Dedupe = Annotated[
    str,
    typer.Option(
        help="How long an id is remembered, to recognise duplicates; at least window + skew. "
        "[default: window + skew + lateness]"
    ),
]
Jump = Annotated[
    str,
    typer.Option(
        help="A record further above the newest of its log than this waits until later records show that its clock is "
        "right; 0s: none waits.",
        show_default="auto: 1h where producers set the times of records, 0s where the broker does",
    ),
]
CloseIdle = Annotated[
    str,
    typer.Option(
        help="How long both inputs of a partition may be silent, with all of it read, before the join goes on by the "
        "clock and closes what is open; 0s: it waits for records.",
        show_default="auto: 1h where the broker sets the times of records, 0s where producers do",
    ),
]
NegativeRate = Annotated[float, typer.Option(help="Share of unclicked impressions that become outcomes, 0 to 1.")]
Dimensions = Annotated[str, typer.Option(help="Dimensions that totals are broken down by, separated by commas.")]
SOURCE: Final = typer.Option(
    metavar="TOPIC=MAPPING",
    help="A topic with any keys, and the mapping of its records: a TOML file, or the name of a ready one. Give it once "
    "for each topic.",
)
Sources = Annotated[list[str] | None, SOURCE]
NewMapping = Annotated[
    bool,
    typer.Option(
        "--new-mapping", help="Go on with a mapping that has changed, from the committed offsets; see the docs."
    ),
]
ExtraDimensionsFile = Annotated[
    Path | None,
    typer.Option(
        "--extra-dimensions",
        envvar="CLICKFOLD_EXTRA_DIMENSIONS",
        metavar="FILE",
        help="TOML that names features by which totals are broken down too.",
        show_default=False,
    ),
]
InputMap = Annotated[
    str,
    typer.Option(
        "--input-map",
        envvar="CLICKFOLD_INPUT_MAP",
        metavar="FILE",
        help="Read the topics of impressions, of clicks or of both through this mapping: a TOML file, or the name of a "
        "ready one. Their keys must be the impression id.",
        show_default=False,
    ),
]
From = Annotated[
    str, typer.Option("--from", help="Where to begin: earliest, time:2026-11-01T00:00Z, or impressions:0=5;clicks:0=1.")
]
Group = Annotated[
    str,
    typer.Option(
        help="Consumer group; a new one starts at the first record. [default: topic prefix + name of the worker]"
    ),
]
StateDir = Annotated[Path, typer.Option(envvar="CLICKFOLD_STATE_DIR", help="Folder for checkpoints.")]
StateBudget = Annotated[
    str,
    typer.Option(
        help="Memory that state may take, such as 4GiB; above it the worker reads more slowly.",
        show_default="auto: 60 % of the memory of the machine or container",
    ),
]
Snapshots = Annotated[
    str,
    typer.Option(
        envvar="CLICKFOLD_SNAPSHOTS",
        metavar="URL",
        help="Share snapshots of state here, for partitions that move: file:///shared/clickfold, s3://bucket/prefix, …",
    ),
]
SnapshotEvery = Annotated[
    str, typer.Option(help="How often a partition's snapshot is shared; it always is when the worker stops.")
]
Static = Annotated[
    bool,
    typer.Option(
        "--static/--dynamic",
        help="Whether the group keeps the partitions of a slot while it restarts, or gives them to other workers.",
    ),
]
AcceptLoss = Annotated[
    bool, typer.Option("--accept-loss", help="Continue although records that are needed are no longer in Kafka.")
]
Slot = Annotated[str, typer.Option(help="Name of this worker, unique in its group and the same at every start.")]


class ModelKind(StrEnum):
    """The models that can be named by an option."""

    MIXTURE = "mixture"
    FTRL = "ftrl"


LearnedModel = Annotated[
    ModelKind | None,
    typer.Option(
        help="What learns: the mixture, or FTRL alone. [default: mixture, or that of --config]", show_default=False
    ),
]
ModelConfigFile = Annotated[
    Path | None,
    typer.Option(
        help="TOML with the settings of the model; `clickfold models config` prints the default.", show_default=False
    ),
]
Grace = Annotated[
    str,
    typer.Option(help="How far apart join partitions may be in event time; outcomes that are later are not measured."),
]


class Codec(StrEnum):
    """The codecs of Kafka, as `--compression` takes them."""

    NONE = "none"
    GZIP = "gzip"
    SNAPPY = "snappy"
    LZ4 = "lz4"
    ZSTD = "zstd"


Compression = Annotated[
    Codec | None,
    typer.Option(
        help="Codec of what is written to Kafka. [default: CLICKFOLD_COMPRESSION, or none, which every client reads]",
        show_default=False,
    ),
]
MetricsPort = Annotated[
    int,
    typer.Option(
        min=0,
        max=65_535,
        envvar="CLICKFOLD_METRICS_PORT",
        help="Port for Prometheus metrics, /livez and /readyz; 0 serves none.",
    ),
]
MetricsHost = Annotated[str, typer.Option(envvar="CLICKFOLD_METRICS_HOST", help="Address for --metrics-port.")]

SPEED_HELP: Final = "Event seconds a second: 1x is real time, 10000 or 10000x plays a week in a minute; or max."
DEFAULT_STATE_DIR = Path(".clickfold/state")
DEFAULT_DIMENSIONS = ",".join(DIMENSIONS)


AUTO: Final = "auto"
# What a gap in the traffic of a partition seldom exceeds while its input is alive: then no record waits in vain.
_JUMP_MS: Final = 3_600_000
# Above the outages after which producers still deliver what they have kept: those records must not be late.
_CLOSE_IDLE_MS: Final = 3_600_000


def join_bounds(
    *, window: str, skew: str, lateness: str, future: str, dedupe: str, negative_rate: float, jump_ms: int = _JUMP_MS
) -> JoinBounds:
    """The bounds as given on the command line. Raises SettingsError."""
    return JoinBounds(
        window_ms=duration_ms("--window", window),
        skew_ms=duration_ms("--skew", skew),
        lateness_ms=duration_ms("--lateness", lateness),
        future_ms=duration_ms("--future", future),
        dedupe_ms=duration_ms("--dedupe", dedupe) if dedupe else -1,
        negative_rate=negative_rate,
        jump_ms=jump_ms,
    )


def learner_settings(*, model: ModelKind | None, config: Path | None, grace: str) -> LearnerSettings:
    """The models of a worker as given on the command line and in a file. Raises SettingsError."""
    from streams.cli.model_config import ModelConfig, read_config  # numpy

    declared = read_config(config) if config is not None else ModelConfig()
    return declared.learner(kind=model and model.value, grace_ms=duration_ms("--grace", grace))


def jump_ms(text: str) -> int:
    """`--jump` for files, and for topics before they are asked. Raises SettingsError."""
    return _JUMP_MS if text == AUTO else duration_ms("--jump", text)


def judged_as_in(cluster: Cluster, bounds: JoinBounds, *, jump: str) -> JoinBounds:
    """The bounds with `--jump` as the inputs of this cluster want it. Raises SettingsError, or Transient."""
    return as_inputs_want(cluster, bounds, jump=jump, close_idle="0s")[0]


def as_inputs_want(cluster: Cluster, bounds: JoinBounds, *, jump: str, close_idle: str) -> tuple[JoinBounds, int]:
    """The bounds with `--jump`, and the milliseconds of `--close-idle`, as the inputs of this cluster want them.

    It asks Kafka once, and only when one of the two is `auto`. Raises SettingsError, or Transient.
    """
    from streams.kafka.admin import Admin

    stamped = AUTO in (jump, close_idle) and Admin(cluster).stamped_by_broker(("impressions", "clicks"))
    if stamped and jump == AUTO:
        bounds = msgspec.structs.replace(bounds, jump_ms=0)
    return bounds, _CLOSE_IDLE_MS if stamped and close_idle == AUTO else close_idle_ms(close_idle)


def close_idle_ms(text: str) -> int:
    """`--close-idle` before an input is asked: `auto` is off. Raises SettingsError."""
    return 0 if text == AUTO else duration_ms("--close-idle", text)


def names(text: str) -> tuple[str, ...]:
    """The names in a text, separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def duration_ms(option: str, text: str) -> int:
    """The value of an option in milliseconds. Raises SettingsError, which names the option."""
    try:
        return parse_duration_ms(text)
    except SettingsError as error:
        raise SettingsError(f"{option}: {error}") from error


def whole_numbers(option: str, text: str) -> list[int]:
    """The numbers of an option, which are separated by commas. Raises SettingsError."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise SettingsError(f"{option} is {text}; give whole numbers, separated by commas")
    return [int(part) for part in parts]


def commit_s(text: str) -> float:
    """The value of `--commit` in seconds. Raises SettingsError.

    A transaction takes about ten milliseconds; above five seconds a restart would repeat much, and readers would wait.
    """
    found_ms = duration_ms("--commit", text)
    if not 20 <= found_ms <= 5_000:
        raise SettingsError(f"--commit is {text}; give a duration from 20ms to 5s, such as 100ms")
    return found_ms / 1_000


def event_speed(text: str, default: float | None) -> float | None:
    """The value of `--speed` in event seconds a second, None for no limit. Raises SettingsError."""
    if not text:
        return default
    if text == "max":
        return None
    try:
        return float(text.removesuffix("x"))
    except ValueError as error:
        raise SettingsError(
            f"--speed is {text!r}; give event seconds a second, such as 1x, 60x or 10000, or max"
        ) from error


def plain_name(option: str, text: str) -> str:
    """The text, if it can be part of a path and of Kafka's ids. Raises SettingsError.

    It may not be empty: librdkafka aborts the process when the name of a group is.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}", text):
        raise SettingsError(f"{option} is {text!r}; give a name of letters, digits, '.', '_' and '-', such as main-1")
    return text
