"""`clickfold upgrade`: moves a system that the version before ran to this one, or a join to more dimensions."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.commands import options
from streams.cli.connections import kafka_cluster
from streams.cli.extra_dimensions import read_extra_dimensions


def upgrade(
    window: options.Window = "30m",
    skew: options.Skew = "5s",
    lateness: options.Lateness = "2m",
    future: options.Future = "60s",
    dedupe: options.Dedupe = "",
    jump: options.Jump = options.AUTO,
    negative_rate: options.NegativeRate = 0.05,
    dimensions: options.Dimensions = options.DEFAULT_DIMENSIONS,
    extra_dimensions: options.ExtraDimensionsFile = None,
    input_map: options.InputMap = "",
    model: options.LearnedModel = None,
    config: options.ModelConfigFile = None,
    grace: options.Grace = "15m",
    join_group: Annotated[str, typer.Option(help="The join's consumer group. [default: topic prefix + join]")] = "",
    learn_group: Annotated[str, typer.Option(help="The learner's group. [default: topic prefix + learn]")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
) -> None:
    """Move the join and the learner of the version before to this version, at the offsets they have committed.

    It also moves a join to further extra dimensions. Stop their workers first, then run this with the options they are
    to have, then start the workers of this version. What is moved already stays as it is, so the command may be
    repeated.
    """
    from streams.cli.mapping import read_input_maps
    from streams.worker.upgrade import Moved, upgrade_join, upgrade_learn

    cluster = kafka_cluster()
    bounds = options.join_bounds(
        window=window,
        skew=skew,
        lateness=lateness,
        future=future,
        dedupe=dedupe,
        negative_rate=negative_rate,
        jump_ms=options.jump_ms(jump),
    )
    learner = options.learner_settings(model=model, config=config, grace=grace)
    groups = [
        options.plain_name("--join-group", join_group or cluster.group("join")),
        options.plain_name("--learn-group", learn_group or cluster.group("learn")),
    ]

    def say(moved: Moved) -> None:
        for partition, cut in moved.cut.items():
            offsets = ", ".join(f"{log} {offset}" for log, offset in cut.items())
            verb = "would move" if dry_run else "moved"
            typer.echo(f"{moved.group}: {verb} partition {partition} at {offsets}")
        if moved.already:
            typer.echo(f"{moved.group}: {len(moved.already)} partitions are of this version already")
        if not moved.cut and not moved.already:
            typer.echo(f"{moved.group}: has committed nothing, so there is nothing to move")

    judged = options.judged_as_in(cluster, bounds, jump=jump)
    extra, maps = read_extra_dimensions(extra_dimensions), read_input_maps(input_map)
    say(upgrade_join(cluster, groups[0], judged, options.names(dimensions), extra, maps, dry_run=dry_run))
    say(upgrade_learn(cluster, groups[1], learner, dry_run=dry_run))
