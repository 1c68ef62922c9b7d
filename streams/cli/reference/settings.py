"""`reference/settings.md`: environment variables, and the options that several commands share."""

from __future__ import annotations

from typing import Final

from pydantic import SecretStr

from schemas.bounds import JoinBounds
from schemas.generate import field_texts
from streams.cli.reference.commands import Command, Parameter, commands
from streams.cli.reference.markdown import NONE, code, page, table
from streams.worker.environment import Environment

# Read where no class declares them.
OTHERS: Final = {
    "KAFKA_CONFIG_…": (
        NONE,
        "Any other setting of librdkafka, by its name with `_` for `.`: `KAFKA_CONFIG_CLIENT_RACK=eu-1`. Every client "
        "gets it. One that clickfold itself must set is refused, and `worker pace` refuses one that its client lacks; "
        "with such a one librdkafka reads for `worker join`, which takes more time.",
    ),
    "CLICKFOLD_CACHE": (
        "`~/.cache/clickfold`",
        "Folder for the Kafka that `make setup` fetches; `XDG_CACHE_HOME` moves it too.",
    ),
    "AWS_ACCESS_KEY_ID": (NONE, "Key of S3, for `--snapshots s3://…`; all that S3's own clients read works."),
    "AWS_SECRET_ACCESS_KEY": (NONE, "Secret of that key."),
    "AWS_ENDPOINT_URL": (NONE, "Address of an object store other than Amazon's."),
}


def settings_page() -> str:
    """The page."""
    found = commands()
    return page(
        "Settings and environment",
        "Options come from the command line, secrets and addresses from the environment. An option wins over its "
        "environment variable. A wrong setting stops a command before it reads or writes, with one sentence that names "
        "the setting, its value and the remedy; secrets are never printed.",
        "## Environment variables",
        "An empty variable counts as not set.",
        table(("variable", "default", "secret", "meaning"), [*_declared(), *_of_options(found), *_others()]),
        "## How values are written",
        "- A duration is a number with a unit: `250ms`, `5s`, `30m`, `2h`, `1d`.\n"
        "- A size of memory is a number with a unit: `512MiB`, `4GiB`; `auto` chooses.\n"
        "- A position in the logs is `earliest`, a time such as `time:2026-11-01T00:00Z`, or offsets by log and "
        "partition such as `impressions:0=5;clicks:0=1`.\n"
        "- Several names are separated by commas.",
        "## What a run is defined by",
        "Two runs with other bounds decide differently. A worker that finds state of other bounds stops and says so.",
        table(("bound", "default", "meaning"), _bounds()),
        "## Options that several commands share",
        table(("option", "value", "default", "commands", "meaning"), _shared(found)),
    )


def _declared() -> list[tuple[str, str, str, str]]:
    texts = field_texts(Environment)
    return [
        (
            code(name.upper()),
            NONE if isinstance(field.default, SecretStr) else code(field.default),
            "yes" if isinstance(field.default, SecretStr) else NONE,
            texts.get(name, NONE),
        )
        for name, field in Environment.model_fields.items()
    ]


def _of_options(found: list[Command]) -> list[tuple[str, str, str, str]]:
    rows: dict[str, tuple[str, str, str, str]] = {}
    for command in found:
        for each in command.parameters:
            for variable in each.variables:
                text = f"{each.text} Same as {each.names}."
                if variable.lower() not in Environment.model_fields:
                    rows.setdefault(variable, (code(variable), each.default, NONE, text))
    return list(rows.values())


def _others() -> list[tuple[str, str, str, str]]:
    return [
        (code(name), default, "yes" if "SECRET" in name else NONE, text) for name, (default, text) in OTHERS.items()
    ]


def _bounds() -> list[tuple[str, str, str]]:
    defaults, texts = JoinBounds(), field_texts(JoinBounds)
    return [(code(name), code(f"{getattr(defaults, name):,}"), texts[name]) for name in JoinBounds.__struct_fields__]


def _shared(found: list[Command]) -> list[tuple[str, str, str, str, str]]:
    users: dict[tuple[str, str], list[tuple[Command, Parameter]]] = {}
    for command in found:
        for each in command.parameters:
            if each.is_option:
                users.setdefault((each.names, each.text), []).append((command, each))
    rows = []
    for (names, text), used in users.items():
        if len(used) > 1:
            defaults = list(dict.fromkeys(each.default for _, each in used))
            shown = defaults[0] if len(defaults) == 1 else "; ".join(_default_of(used, each) for each in defaults)
            rows.append((names, used[0][1].type, shown, ", ".join(_link(command) for command, _ in used), text))
    return rows


def _default_of(used: list[tuple[Command, Parameter]], default: str) -> str:
    of = ", ".join(command.line.removeprefix("clickfold ") for command, each in used if each.default == default)
    return f"{default or 'none'} ({of})"


def _link(command: Command) -> str:
    return f"[{command.line.removeprefix('clickfold ')}](cli.md#{'-'.join(('clickfold', *command.words))})"
