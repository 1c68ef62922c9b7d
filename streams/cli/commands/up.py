"""`clickfold up` and `clickfold down`: start and stop the embedded system, which runs in the background."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from schemas.bounds import JoinBounds
from schemas.dimensions import ExtraDimension
from schemas.errors import SettingsError
from schemas.totals import DIMENSIONS
from streams.cli.beside_up import REGISTRY, REMAPPED
from streams.cli.commands import options
from streams.cli.connections import DEFAULT_DATA_DIR
from streams.cli.connections import data_dir as default_data_dir
from streams.cli.extra_dimensions import read_extra_dimensions
from streams.embedded.clickhouse import ClickHouse
from streams.embedded.clickhouse.password import keep_password, password_file
from streams.embedded.process import ProcessError
from streams.embedded.stack import INGEST, Stack, WorkerError, require_embedded
from streams.kafka.cluster import Cluster
from streams.worker.environment import Environment

DataDir = Annotated[
    Path, typer.Option(envvar="CLICKFOLD_DATA_DIR", help="Folder of the embedded system, with its data and logs.")
]


def up(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    partitions: Annotated[
        int, typer.Option(min=1, max=64, help="Partitions of the topics, if they do not exist yet.")
    ] = 4,
    window: options.Window = "30m",
    skew: options.Skew = "5s",
    lateness: options.Lateness = "2m",
    negative_rate: options.NegativeRate = 0.05,
    extra_dimensions: options.ExtraDimensionsFile = None,
    input_map: options.InputMap = "",
    source: options.Sources = None,
    new_mapping: options.NewMapping = False,
    compression: options.Compression = None,
    kafka_port: Annotated[
        int,
        typer.Option(
            min=0, max=65_535, help="Port of Kafka; 0: that of the first start in this folder, which is 9092 if free."
        ),
    ] = 0,
    clickhouse_port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port of ClickHouse; 0: the same, from 8123.")
    ] = 0,
) -> None:
    """Start Kafka, ClickHouse and all workers in the background, except those that run already.

    With --source the worker `ingest` is one of them. A topic of a source that does not exist is made.
    """
    require_embedded()
    bounds = options.join_bounds(
        window=window, skew=skew, lateness=lateness, future="60s", dedupe="", negative_rate=negative_rate
    )
    extra = read_extra_dimensions(extra_dimensions)
    console = Console()
    join_options = ["--window", window, "--skew", skew, "--lateness", lateness, "--negative-rate", str(negative_rate)]
    if extra_dimensions is not None:
        join_options += ["--extra-dimensions", _path("--extra-dimensions", extra_dimensions)]
    contents = {}
    if input_map:
        from streams.cli.mapping import read_input_maps

        # What is wrong with it is said before anything starts.
        contents["--input-map"] = read_input_maps(input_map).digest
        join_options += ["--input-map", _mapping("--input-map", input_map)]
    worker_options = {"join": join_options, "pace": ["--window", window]}
    sources = _sources(source or ())
    if sources:
        worker_options[INGEST] = [word for topic, name in sources.items() for word in ("--source", f"{topic}={name}")]
    elif new_mapping:
        raise SettingsError("--new-mapping is for the mapping of a source; give its --source TOPIC=MAPPING too")
    stack = Stack.attach(data_dir) or Stack(data_dir)
    take_password(stack.clickhouse)
    stack.configure(
        partitions=partitions,
        options=worker_options,
        sources=list(sources),
        once={INGEST: ["--new-mapping"]} if new_mapping else {},
        notes=_notes(new_mapping=new_mapping) if sources else (),
        contents=contents,
        ports={"kafka": kafka_port, "clickhouse": clickhouse_port},
        compression=str(compression or Environment().clickfold_compression),
    )
    with console.status("starting …") as status:
        try:
            started = stack.start(
                status.update, detached=True, before_workers=partial(_move, bounds, extra, input_map, stack)
            )
        except WorkerError as error:
            # What the worker found wrong may be in Kafka, where only a running Kafka lets it be put right.
            stack.undo_start(servers=False)
            raise ProcessError(
                f"{error}\nKafka ({stack.broker.bootstrap}) and ClickHouse ({stack.clickhouse.url}) go on, so that you "
                "can put right what the worker names; then run `clickfold up` again, or `clickfold down`"
            ) from error
        except BaseException:
            stack.undo_start()
            raise
    if not started:
        console.print("already running")
    console.print(f"Kafka       {stack.broker.bootstrap}")
    console.print(f"ClickHouse  {stack.clickhouse.url}")
    # The file has the password, so that neither this screen nor a list of processes shows it.
    login = password_file(stack.clickhouse.folder)
    if stack.clickhouse.password:
        console.print(f"            curl --netrc-file {login} '{stack.clickhouse.url}/?query=SELECT+1'", soft_wrap=True)
    for name in stack.workers:
        console.print(f"{name:<11} {stack.url(name)}")
    console.print(
        f"Logs and data in {stack.folder}. Produce to {' and '.join(sources or ('ads.impressions', 'ads.clicks'))}; "
        "`clickfold query` shows results."
    )
    if data_dir.absolute() != default_data_dir().absolute():
        console.print("Set CLICKFOLD_DATA_DIR to that folder, so that `clickfold query` and `clickfold models` use it.")


def _sources(given: Sequence[str]) -> dict[str, str]:
    """The mapping of each topic, as the worker finds it from any folder. Raises SettingsError that names the option."""
    if not given:
        return {}
    from streams.cli.mapping import sources_of

    return {source.topic: _mapping("--source", source.name) for source in sources_of(given, None)}


def _mapping(option: str, name: str) -> str:
    """A mapping as a worker finds it from any folder."""
    from streams.mapping.ready import ready

    return name if ready(name) is not None else _path(option, Path(name))


def _notes(*, new_mapping: bool) -> list[str]:
    """What `clickfold verify` must know of how ingest was started."""
    named = Environment().registry() is not None
    return [note for note, holds in ((REMAPPED, new_mapping), (REGISTRY, named)) if holds]


def _path(option: str, path: Path) -> str:
    """An absolute path that is one word among the options of a worker."""
    if re.search(r"\s", str(path.absolute())):
        raise SettingsError(f"{option} is {path}; `up` takes a path without spaces")
    return str(path.absolute())


def take_password(clickhouse: ClickHouse) -> None:
    """CLICKHOUSE_PASSWORD, when set, takes the place of the kept password."""
    environment = Environment()
    password = environment.clickhouse_password.get_secret_value()
    # With an address it is the password of another ClickHouse.
    if not password or environment.clickhouse_url:
        return
    if not clickhouse.alive:
        keep_password(clickhouse.folder, password)
    elif clickhouse.password != password:
        raise SettingsError(
            "ClickHouse runs with another password than CLICKHOUSE_PASSWORD; run `clickfold down` first"
        )


def _move(bounds: JoinBounds, extra: Sequence[ExtraDimension], input_map: str, stack: Stack, cluster: Cluster) -> None:
    """Adds the columns of extra dimensions, and moves what the version before, or a start without them, has left.

    Nobody else can run `clickfold init` and `clickfold upgrade` here in time.
    """
    from online_models.settings import LearnerSettings
    from schemas.clickhouse.extra import add_extra
    from streams.cli.mapping import read_input_maps
    from streams.worker.upgrade import upgrade_join, upgrade_learn

    judged = options.judged_as_in(cluster, bounds, jump=options.AUTO)
    # The server of the stack: `start` may have put another in its place, with its port.
    if extra:
        with closing(stack.clickhouse.warehouse.connect()) as client:
            add_extra(client, extra, say=lambda _: None, dry=False)
    upgrade_join(cluster, cluster.group("join"), judged, DIMENSIONS, extra, read_input_maps(input_map), dry_run=False)
    upgrade_learn(cluster, cluster.group("learn"), LearnerSettings(), dry_run=False)


def down(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Stop what `clickfold up` started; data stays."""
    console = Console()
    stack = Stack.attach(data_dir)
    if stack is None:
        console.print(f"nothing runs on {data_dir}")
        return
    with console.status("stopping …"):
        stack.stop()
    console.print("stopped")
