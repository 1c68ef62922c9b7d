"""`clickfold models`: the published models, their measures, one prediction explained; and the default settings."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
import rich.table
import typer
from confluent_kafka import Consumer, TopicPartition
from rich import box
from rich.console import Console, Group, RenderableType
from rich.text import Text

from schemas.codec import decode
from schemas.errors import SettingsError
from schemas.events import Impression
from schemas.models import ModelMetrics, ModelVersion
from schemas.outcomes import Outcome
from streams.cli.connections import kafka_cluster
from streams.cli.lazy import command_group
from streams.cli.render.escape import escaped
from streams.cli.render.figures import count, decimal, moment, percent
from streams.cli.render.measures import Measures
from streams.kafka.cluster import Cluster
from streams.kafka.reads import log_bounds, read_all
from streams.kafka.settings import reader_settings

_NEWEST_WINDOWS: Final = 5
# Offsets read from the end of the log. Some are markers of transactions, orphans or repeats, so one would not do.
_NEWEST_OUTCOMES: Final = 200
_READ_TIMEOUT_S: Final = 5.0
# Predicted for when neither an option nor the log has an impression.
_EXAMPLE: Final = Impression(
    impression_id="example",
    ts=round(datetime(2025, 1, 1, 12, tzinfo=UTC).timestamp() * 1_000),
    campaign_id="example",
    creative_id="example",
    price_micros=0,
)


app = command_group("Look at the models the learner publishes.", no_args_is_help=True)


# Typer turns a group with one command and no callback into that command.
@app.callback()
def models() -> None:
    """Look at the models the learner publishes."""


@app.command()
def show(
    impression: Annotated[
        str, typer.Option(help="Impression as JSON, to predict its clicks. [default: the newest outcome of each shard]")
    ] = "",
) -> None:
    """Show the current model of each shard, its latest measures, and a prediction with the part of each feature."""
    given = _impression(impression) if impression else None
    console = Console()
    for part in report(kafka_cluster(), given):
        console.print(part)


@app.command()
def config() -> None:
    """Print the default settings of `clickfold learn` as TOML with comments, for --config."""
    from streams.cli.model_config import default_text  # numpy

    typer.echo(default_text(), nl=False)


def report(cluster: Cluster, impression: Impression | None = None) -> list[RenderableType]:
    """The output of `models show`. Raises SettingsError without a topic or a model, Transient without a broker."""
    from online_models.former import check, latest  # numpy
    from streams.kafka.admin import Admin

    Admin(cluster).check(("models", "model_metrics"), ("outcomes",))
    versions = latest(decode(value, ModelVersion) for value in read_all(cluster, "models", 0))
    if not versions:
        raise SettingsError("no model is published yet; start `clickfold worker learn`, or wait for its first version")
    windows = [decode(value, ModelMetrics) for value in read_all(cluster, "model_metrics", 0)]
    parts: list[RenderableType] = [models_table(versions.values()), Text(), measures_table(windows)]
    for version in versions.values():
        check(version)
        parts += [Text(), prediction_table(version, impression or _newest(cluster, version.shard) or _EXAMPLE)]
    return parts


def models_table(versions: Iterable[ModelVersion]) -> RenderableType:
    """A table of the models, a line for each shard: the event time it has learned up to, and its size."""
    table = _table(
        "Current models", ("model",), ("shard", "version", "weights", "bits"), ("learned to (UTC)", "digest")
    )
    for each in sorted(versions, key=lambda each: (each.model, each.shard)):
        table.add_row(
            Text(escaped(each.model)), str(each.shard), count(each.version), count(len(each.weights)), str(each.bits),
            moment(each.event_ms), each.digest[:12],
        )  # fmt: skip
    return table


def measures_table(windows: Iterable[ModelMetrics]) -> RenderableType:
    """A table of the measures of each shard: its newest windows, and all windows together. Slices are left out."""
    # A window may be written again after a restart; the record of the highest version holds.
    newest: dict[tuple[str, int, int], ModelMetrics] = {}
    for each in windows:
        key = (each.model, each.shard, each.window_start)
        if each.slice == "all" and (key not in newest or each.version >= newest[key].version):
            newest[key] = each
    if not newest:
        return Text("Measures: no window is complete yet.")
    by_shard: defaultdict[tuple[str, int], list[ModelMetrics]] = defaultdict(list)
    for (model, shard, _), each in sorted(newest.items()):
        by_shard[model, shard].append(each)
    names = ("outcomes", "clicks", "predicted", "calibration", "log loss", "AUC")
    table = _table("Predicted before learned", ("shard", "window from (UTC)"), names, ())
    for (model, shard), of_shard in by_shard.items():
        shown = Text(escaped(f"{model}/{shard}"))
        for each in of_shard[-_NEWEST_WINDOWS:]:
            figures = measures_of(each).figures()
            table.add_row(shown, moment(each.window_start), *figures, decimal(each.auc, 3))
        total = sum((measures_of(each) for each in of_shard), Measures())
        table.add_row(shown, f"all {len(of_shard)} windows", *total.figures(), "", style="bold")
    return table


def prediction_table(version: ModelVersion, impression: Impression | Outcome) -> RenderableType:
    """The click probability of one impression, and how much each feature adds to its log odds, largest first."""
    from online_models.former import contributions, predict

    sentence = f"Shard {version.shard}: impression {escaped(impression.impression_id)} is clicked with probability "
    table = _table("What each feature adds", ("feature", "category"), (), ())
    for name in ("value", "weight", "log odds"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in sorted(contributions(version, impression), key=lambda each: -abs(each.value * each.weight)):
        adds = each.value * each.weight
        style = "dim" if not adds else "green" if adds > 0.0 else "magenta"
        table.add_row(
            Text(escaped(each.name)), Text(escaped(each.category)), decimal(each.value, 3), f"{each.weight:+.4f}",
            Text(f"{adds:+.4f}", style=style),
        )  # fmt: skip
    note = Text("A weight of 0: the model has not seen the feature, or it makes no difference.", style="dim")
    return Group(Text.assemble(sentence, (percent(predict(version, impression), 3), "bold")), table, note)


def measures_of(window: ModelMetrics) -> Measures:
    """The measures of a window as sums."""
    return Measures(
        window.examples, window.weight, window.clicks, window.predicted_clicks, window.log_loss * window.weight
    )


def _newest(cluster: Cluster, shard: int) -> Outcome | None:
    """The newest outcome of the shard that has an impression, or None. Reads only the end of the log."""
    topic = cluster.topic("outcomes")
    consumer = Consumer(reader_settings(cluster))
    try:
        low, high = log_bounds(consumer, topic, shard)
        consumer.assign([TopicPartition(topic, shard, max(low, high - _NEWEST_OUTCOMES))])
        newest, until_s, ended = None, time.monotonic() + _READ_TIMEOUT_S, high <= low
        while not ended and time.monotonic() < until_s:
            for message in consumer.consume(_NEWEST_OUTCOMES, 0.2):
                if message.error() is not None:
                    ended = True
                    continue
                outcome = decode(message.value() or b"", Outcome)
                newest = outcome if outcome.label is not None else newest
        return newest
    finally:
        consumer.close()


def _impression(text: str) -> Impression:
    try:
        return decode(text.encode(), Impression)
    except msgspec.MsgspecError as error:
        raise SettingsError(f"--impression {text[:80]!r} is not an impression: {error}") from error


def _table(title: str, texts: tuple[str, ...], numbers: tuple[str, ...], more: tuple[str, ...]) -> rich.table.Table:
    table = rich.table.Table(
        title=Text(title, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for names, right in ((texts, False), (numbers, True), (more, False)):
        for name in names:
            table.add_column(name, justify="right" if right else "left", no_wrap=not texts.count(name))
    return table
