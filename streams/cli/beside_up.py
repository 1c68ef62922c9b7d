"""The settings of the join for commands that must have them: beside `clickfold up`, those that it was given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import typer

from schemas.bounds import JoinBounds
from schemas.dimensions import ExtraDimension
from streams.cli.commands import options
from streams.cli.connections import notes_of_up, options_of_up
from streams.cli.extra_dimensions import read_extra_dimensions
from streams.cli.mapping import read_input_maps
from streams.join.mapped import InputMaps
from streams.kafka.cluster import Cluster
from streams.worker.environment import Environment

# What `clickfold up` notes of ingest: it was given --new-mapping; it was given a schema registry.
REMAPPED: Final = "new-mapping"
REGISTRY: Final = "registry"


def options_beside_up(context: typer.Context) -> dict[str, str]:
    """The join's options that `clickfold up` was given, without those that this command was given."""
    return {option: text for option, text in dict(options_of_up("join")).items() if not _given(context, option)}


def bounds_beside_up(
    context: typer.Context,
    cluster: Cluster,
    *,
    window: str,
    skew: str,
    lateness: str,
    future: str,
    dedupe: str,
    negative_rate: float,
    jump: str,
) -> JoinBounds:
    """The bounds of the join. Raises SettingsError for an option that cannot be, Transient without Kafka."""
    stored = options_beside_up(context)
    bounds = options.join_bounds(
        window=stored.get("--window", window),
        skew=stored.get("--skew", skew),
        lateness=stored.get("--lateness", lateness),
        future=future,
        dedupe=dedupe,
        negative_rate=float(stored.get("--negative-rate", negative_rate)),
        jump_ms=options.jump_ms(jump),
    )
    return options.judged_as_in(cluster, bounds, jump=jump)


def extra_beside_up(context: typer.Context, given: Path | None) -> Sequence[ExtraDimension]:
    """The extra dimensions of the join. Raises SettingsError for a declaration that cannot be."""
    stored = options_beside_up(context).get("--extra-dimensions")
    return read_extra_dimensions(Path(stored) if stored is not None else given)


def input_maps_beside_up(context: typer.Context, given: str) -> InputMaps:
    """The mapping that the join reads inputs through. Raises SettingsError for one that it cannot."""
    return read_input_maps(options_beside_up(context).get("--input-map", given))


def sources_beside_up(context: typer.Context, given: Sequence[str] | None) -> tuple[Sequence[str], str]:
    """The sources of ingest, as --source names them, or why those of `clickfold up` cannot be compared."""
    if _given(context, "--source"):
        return given or (), ""
    sources = [text for _, text in options_of_up("ingest")]
    if not sources:
        return (), ""
    notes = notes_of_up()
    if REMAPPED in notes:
        return (), "its mapping was changed, and a source is compared by one: give --source TOPIC=MAPPING"
    if REGISTRY in notes and Environment().registry() is None:
        return (), "`clickfold up` was given a schema registry: set SCHEMA_REGISTRY_URL here too"
    return sources, ""


def _given(context: typer.Context, option: str) -> bool:
    """Whether the user gave an option."""
    source = context.get_parameter_source(option.removeprefix("--").replace("-", "_"))
    # By name: typer does not export the type.
    return source is not None and source.name != "DEFAULT"
