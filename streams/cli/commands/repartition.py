"""`clickfold repartition`: puts the records of an input where murmur2 of their keys wants them."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.connections import kafka_cluster
from streams.cli.render.figures import count
from streams.cli.render.records_bar import records_bar


def repartition(
    topic: Annotated[str, typer.Argument(help="Full name of the topic to read, such as ads.clicks.")],
    to: Annotated[
        str, typer.Option("--to", help="Topic that gets a copy of every record, such as right.clicks. [default: TOPIC]")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the records, and write nothing.")] = False,
) -> None:
    """Write the records of a topic again, each in the partition that murmur2 of its key gives, exactly once.

    Without --to, the records that are in a wrong partition are written to the end of the right one, once, and all
    stay where they are. With --to, all records are written to the other topic, in the order of their timestamps. The
    command reads what the topic has when it starts. Stopped, the same command goes on; later, it takes what has come
    since.
    """
    from streams.kafka.repartition import Repartition

    cluster = kafka_cluster()
    work = Repartition(cluster, topic, to or topic)
    if dry_run:
        moved = work.look()
    else:
        with records_bar() as bar:
            task = bar.add_task("records", total=work.offsets)
            moved = work.run(lambda records: bar.advance(task, records))
    verb = "would write" if dry_run else "wrote"
    typer.echo(
        f"{topic}: read {count(moved.read)} records, {count(moved.misplaced)} of them not in the partition that "
        f"murmur2 gives; {verb} {count(moved.written)} to {to or topic}"
    )
