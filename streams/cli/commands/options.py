"""Options several commands share, with one meaning, one help text and one default each."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Annotated

import typer

from schemas.bounds import JoinBounds, parse_duration_ms
from schemas.errors import SettingsError
from schemas.totals import DIMENSIONS

Window = Annotated[str, typer.Option(help="Attribution window: the longest delay of a click that is billed.")]
Skew = Annotated[str, typer.Option(help="How far before its impression a click may be stamped.")]
Lateness = Annotated[str, typer.Option(help="How far below the highest time of its log a record is still accepted.")]
Future = Annotated[str, typer.Option(help="How far after its own Kafka timestamp a record may be stamped.")]
Dedupe = Annotated[
    str, typer.Option(help="How long an id is remembered; at least window + skew. [default: window + skew + lateness]")
]
NegativeRate = Annotated[float, typer.Option(help="Share of unclicked impressions that become outcomes, 0 to 1.")]
Dimensions = Annotated[str, typer.Option(help="Dimensions totals keep apart, by comma.")]
From = Annotated[
    str, typer.Option("--from", help="First records: earliest, time:2026-11-01T00:00Z, or impressions:0=5;clicks:0=1")
]
Group = Annotated[str, typer.Option(help="Consumer group; another one is another run. [default: topic prefix + name]")]
StateDir = Annotated[Path, typer.Option(envvar="CLICKFOLD_STATE_DIR", help="Folder for checkpoints.")]
StateBudget = Annotated[
    str,
    typer.Option(help="Memory state may take, such as 4GiB; above it intake slows. [default: 60 % of what there is]"),
]
Snapshots = Annotated[
    str,
    typer.Option(
        envvar="CLICKFOLD_SNAPSHOTS",
        metavar="URL",
        help="Share snapshots here (file:///shared/clickfold, s3://bucket/prefix, …) for partitions that move.",
    ),
]
SnapshotEvery = Annotated[str, typer.Option(help="How often a partition's snapshot is shared; at a stop it always is.")]
Static = Annotated[
    bool,
    typer.Option(
        "--static/--dynamic", help="The group keeps the slot's partitions for it while it restarts, or gives them away."
    ),
]
AcceptLoss = Annotated[
    bool, typer.Option("--accept-loss", help="Go on without records that are needed and no longer in Kafka.")
]
Slot = Annotated[str, typer.Option(help="Name of this worker among those of its group on this machine; stable.")]
MetricsPort = Annotated[
    int,
    typer.Option(
        min=0,
        max=65_535,
        envvar="CLICKFOLD_METRICS_PORT",
        help="Serve Prometheus metrics, /livez and /readyz here; 0: do not.",
    ),
]
MetricsHost = Annotated[str, typer.Option(envvar="CLICKFOLD_METRICS_HOST", help="Address for --metrics-port.")]

DEFAULT_STATE_DIR = Path(".clickfold/state")
DEFAULT_DIMENSIONS = ",".join(DIMENSIONS)


def join_bounds(*, window: str, skew: str, lateness: str, future: str, dedupe: str, negative_rate: float) -> JoinBounds:
    """The bounds as given on the command line. Raises SettingsError."""
    return JoinBounds(
        window_ms=duration_ms("--window", window),
        skew_ms=duration_ms("--skew", skew),
        lateness_ms=duration_ms("--lateness", lateness),
        future_ms=duration_ms("--future", future),
        dedupe_ms=duration_ms("--dedupe", dedupe) if dedupe else -1,
        negative_rate=negative_rate,
    )


def names(text: str) -> tuple[str, ...]:
    """Names given by comma."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def duration_ms(option: str, text: str) -> int:
    """Milliseconds of an option's value. Raises SettingsError naming the option: of six durations one is meant."""
    try:
        return parse_duration_ms(text)
    except SettingsError as error:
        raise SettingsError(f"{option}: {error}") from error


def plain_name(option: str, text: str) -> str:
    """A name that can be part of a path and of Kafka's ids. Raises SettingsError.

    The C library below ends the process over an empty group.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}", text):
        raise SettingsError(f"{option} is {text!r}; give a name of letters, digits, '.', '_' and '-', such as main-1")
    return text


def free_port(option: str, host: str, port: int) -> int:
    """A port that can be listened on now; 0 is passed on. Raises SettingsError, where a server would print a stack."""
    try:
        if port:
            socket.create_server((host, port)).close()
    except OSError as error:
        why = str(error.strerror).partition(" (")[0]  # create_server says the address again
        raise SettingsError(f"{option} {port} on {host} cannot be served ({why}); give another") from error
    return port
