"""`clickfold models`: the published models, their measures and predictions; export, roll back, compare, promote."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer
from rich.console import Console, RenderableType
from rich.text import Text

from schemas.codec import decode
from schemas.errors import SettingsError
from schemas.events import Impression
from schemas.models import MODEL_FORMAT, ModelChoice, ModelMetrics
from schemas.records import Out
from streams.cli.connections import kafka_cluster
from streams.cli.lazy import command_group
from streams.cli.render.escape import escaped
from streams.kafka.cluster import Cluster
from streams.kafka.reads import read_all

if TYPE_CHECKING:
    from streams.cli.model_comparison import Compared

# Predicted for when neither an option nor the log has an impression.
_EXAMPLE: Final = Impression(
    impression_id="example",
    ts=round(datetime(2025, 1, 1, 12, tzinfo=UTC).timestamp() * 1_000),
    campaign_id="example",
    creative_id="example",
    price_micros=0,
)
Model = Annotated[str, typer.Argument(help="ctr, ctr@VERSION, ctr/SHARD@VERSION, or a file that was exported.")]
ImpressionJson = Annotated[
    str, typer.Option(help="Impression as JSON, to predict its clicks. [default: the newest outcome of each shard]")
]

app = command_group("Look at the models the learner publishes, and choose which is served.", no_args_is_help=True)


@app.command(name="list")
def list_() -> None:
    """List every version of every model in the topic, and which is in use."""
    from streams.cli.model_store import read_models
    from streams.cli.render.models import models_table

    models, said = read_models(kafka_cluster())
    console = Console()
    console.print(models_table(models, models.versions()))
    _say(said)
    for model, shard in sorted(models.current):
        choice = models.choice(model, shard)
        if choice is not None and choice.follow != model:
            console.print(escaped(f"{model}/{shard} follows {choice.follow}, by choice {choice.number}"))


@app.command()
def show(
    model: Annotated[str, typer.Argument(help=f"{Model.__metadata__[0].help} [default: all in use]")] = "",
    impression: ImpressionJson = "",
) -> None:
    """Show models in use, their latest measures, and a prediction with what each feature adds."""
    given = _impression(impression) if impression else None
    console = Console()
    for part in report(model, given):
        console.print(part)


@app.command()
def diff(one: Model, other: Model) -> None:
    """Show how two models differ: settings, measures, and what they predict of the newest outcomes."""
    from streams.cli.model_store import named_model, newest_outcomes
    from streams.cli.render.models import difference

    from_files = Path(one).is_file() and Path(other).is_file()
    cluster = None if from_files else kafka_cluster()
    first, second = (named_model(each, cluster) for each in (one, other))
    shown = newest_outcomes(cluster, first.manifest.shard) if cluster is not None else []
    console = Console()
    for part in difference(first, second, shown):
        console.print(part)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="ctr, ctr@VERSION or ctr/SHARD@VERSION.")],
    file: Annotated[Path, typer.Argument(help="File to write.")],
) -> None:
    """Write one version of a model to one file, which `show`, `diff` and `rollback` read."""
    from streams.cli.model_store import Reference, find, read_models, write_file
    from streams.cli.render.models import named_shard

    models, _ = read_models(kafka_cluster())
    manifest = find(models, Reference.of(model)).manifest
    write_file(file, *models.data(manifest.model, manifest.shard, manifest.version))
    typer.echo(escaped(f"wrote {named_shard(manifest)} to {file}"))


@app.command()
def rollback(
    model: Annotated[str, typer.Argument(help="Model to roll back: ctr, or ctr/SHARD.")] = "ctr",
    to: Annotated[str, typer.Option(help="Version in the topic, or a file that was exported.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Serve what the learner publishes again.")] = False,
) -> None:
    """Publish an older model under a new, higher version, which is served until `--resume`."""
    from online_models.publishing import choice_record, model_records
    from online_models.settings import ROLLBACK
    from streams.cli.model_store import Reference, find, read_file, read_models, republished

    if bool(to) == resume:
        raise SettingsError("give either --to, with a version or a file, or --resume")
    cluster = kafka_cluster()
    models, _ = read_models(cluster)
    name, shard, _version = Reference.of(model)
    outs: list[Out] = []
    follow = name
    if to:
        follow = f"{name}.{ROLLBACK}"
        if Path(to).is_file():
            manifest, data = read_file(Path(to))
        else:
            found = find(models, Reference.of(f"{name}/{shard}@{to}")).manifest
            manifest, data = models.data(found.model, found.shard, found.version)
        if (manifest.model, manifest.shard) != (name, shard):
            raise SettingsError(f"{to} is model {manifest.model}/{manifest.shard}, not {name}/{shard}; give one of it")
        copied = republished(models, manifest, follow)
        outs += model_records(copied, data, "even" if copied.version % 2 else "odd")
        said = f"version {manifest.version} of {name}/{shard} is published as version {copied.version}, and served"
    else:
        said = f"{name}/{shard} is served as the learner publishes it, from its next version on"
    before = models.choice(name, shard)
    number = before.number + 1 if before is not None else 1
    outs.append(choice_record(ModelChoice(format=MODEL_FORMAT, model=name, shard=shard, number=number, follow=follow)))
    _write(cluster, outs)
    typer.echo(escaped(said))


@app.command()
def compare() -> None:
    """Compare challengers with the model: the difference of losses, with an interval that is right at every look."""
    from streams.cli.render.models import comparison_table

    console = Console()
    found = _compared(kafka_cluster())
    if not found:
        raise SettingsError("no challenger has a window yet; declare [[challengers]] in the TOML of `worker learn`")
    console.print(comparison_table(found))
    console.print(
        "In hundredths of normalised entropy; below 0 the challenger is better. Outcomes count as independent.",
        style="dim",
    )


@app.command()
def promote(
    challenger: Annotated[str, typer.Argument(help="Name of the challenger. [default with --auto: the best]")] = "",
    model: Annotated[str, typer.Option(help="Model whose readers follow it.")] = "ctr",
    auto: Annotated[bool, typer.Option("--auto", help="Only if it is better, by `models compare`.")] = False,
) -> None:
    """Serve a challenger in place of the model, until another is promoted or `rollback --resume`."""
    from online_models.publishing import choice_record
    from streams.cli.model_store import read_models

    if not challenger and not auto:
        raise SettingsError("give the name of a challenger, or --auto")
    cluster = kafka_cluster()
    if auto:
        better = [each for each in _compared(cluster) if each.against == model and each.verdict == "better"]
        if challenger:
            better = [each for each in better if each.challenger == f"{model}.{challenger}"]
        if not better:
            typer.echo("nothing is promoted: no challenger is better than the model with certainty")
            return
        challenger = min(better, key=lambda each: each.sums.difference).challenger.removeprefix(f"{model}.")
    models, _ = read_models(cluster)
    follow = f"{model}.{challenger}"
    shards = sorted({each.shard for each in models.versions() if each.model == follow})
    if not shards:
        there = sorted({each.model for each in models.versions() if each.model.startswith(f"{model}.")})
        raise SettingsError(f"{follow} is not published; there are {', '.join(there) or 'no challengers'}")
    before = {shard: models.choice(model, shard) for shard in shards}
    if all(choice is not None and choice.follow == follow for choice in before.values()):
        typer.echo(escaped(f"{model} follows {follow} already"))
        return
    numbers = {shard: choice.number + 1 if choice is not None else 1 for shard, choice in before.items()}
    choices = (
        ModelChoice(format=MODEL_FORMAT, model=model, shard=shard, number=number, follow=follow)
        for shard, number in numbers.items()
    )
    _write(cluster, [choice_record(each) for each in choices])
    typer.echo(escaped(f"{model} follows {follow} on {len(shards)} shards"))


@app.command()
def chart(
    model: Annotated[str, typer.Argument(help="Only this model and its challengers.")] = "",
    height: Annotated[int, typer.Option(min=5, max=200, help="Lines of the chart of NE.")] = 20,
    png: Annotated[
        Path | None,
        typer.Option(help="Write a PNG file and draw nothing; needs the extra `plots`.", show_default=False),
    ] = None,
) -> None:
    """Draw normalised entropy over time, and the reliability of predictions."""
    from streams.cli.render.charts import Canvas
    from streams.cli.render.models import charts, newest_windows

    windows = [each for each in _windows(kafka_cluster()) if not model or f"{each.model}.".startswith(f"{model}.")]
    if png is not None:
        from streams.cli.render.plots import write_png

        write_png(png, newest_windows(windows))
        typer.echo(escaped(f"wrote {png}"))
        return
    console = Console()
    colours = console.color_system is not None and not console.no_color
    for part in charts(windows, Canvas(console.width, height, colours=colours)):
        console.print(part)


@app.command()
def config() -> None:
    """Print the default settings of the command and the worker `learn` as TOML with comments, for --config."""
    from streams.cli.model_config import default_text  # numpy

    typer.echo(default_text(), nl=False)


def report(model: str = "", impression: Impression | None = None) -> list[RenderableType]:
    """The output of `models show`. Raises SettingsError without a topic or a model, Transient without a broker."""
    from streams.cli.model_store import named_model, newest_outcomes, read_models
    from streams.cli.render.models import measures_table, models_table, prediction_table

    if model and Path(model).is_file():
        return [prediction_table(named_model(model, None), impression or _EXAMPLE)]
    cluster = kafka_cluster()
    models, said = read_models(cluster)
    chosen = [named_model(model, cluster, models)] if model else [each for _, each in sorted(models.current.items())]
    windows = [decode(value, ModelMetrics) for value in read_all(cluster, "model_metrics", 0)]
    if model:
        windows = [each for each in windows if each.model == chosen[0].manifest.model]
    parts: list[RenderableType] = [models_table(models, (each.manifest for each in chosen)), Text()]
    parts.append(measures_table(windows))
    for each in chosen:
        newest = newest_outcomes(cluster, each.manifest.shard)
        parts += [Text(), prediction_table(each, impression or (newest[-1] if newest else _EXAMPLE))]
    _say(said)
    return parts


def _windows(cluster: Cluster) -> list[ModelMetrics]:
    from streams.kafka.admin import Admin

    Admin(cluster).check(("models", "model_metrics"), ("outcomes",))
    return [decode(value, ModelMetrics) for value in read_all(cluster, "model_metrics", 0)]


def _compared(cluster: Cluster) -> list[Compared]:
    from streams.cli.model_comparison import compared
    from streams.cli.render.models import newest_windows

    return compared(newest_windows(_windows(cluster)))


def _say(sentences: list[str]) -> None:
    for sentence in sentences:
        typer.echo(escaped(sentence), err=True)


def _write(cluster: Cluster, outs: list[Out]) -> None:
    """Writes records in one transaction, as a learner does: a reader sees all of them or none."""
    from streams.kafka.writes import write_together

    write_together(cluster, f"{cluster.prefix}models", outs)


def _impression(text: str) -> Impression:
    try:
        return decode(text.encode(), Impression)
    except msgspec.MsgspecError as error:
        raise SettingsError(f"--impression {text[:80]!r} is not an impression: {error}") from error
