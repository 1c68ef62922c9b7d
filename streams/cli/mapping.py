"""The mapping that a command was given: read, its salts taken from the environment, made ready for both logs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import SettingsError
from streams.ingest.schemas import Schemas, reading
from streams.ingest.source import Source
from streams.ingest.values import Values
from streams.inputs.files import FileLog, refuse_shared
from streams.inputs.opening import STDIN, Copy, as_given
from streams.join.mapped import InputMaps
from streams.mapping.compiled import Compiled
from streams.mapping.language import EVENTS, MappingFile, read_mapping
from streams.mapping.ready import ready, ready_names
from streams.mapping.rows import ReadValues
from streams.worker.environment import Environment, variable
from streams.worker.input_maps import OPTION, input_maps


@dataclass(frozen=True, slots=True)
class Mapped:
    """A mapping made ready, or none."""

    file: MappingFile | None
    inputs: dict[str, Compiled]
    # The file as it is.
    text: str = ""

    def logs(
        self,
        impressions: Sequence[Path],
        clicks: Sequence[Path],
        *,
        keep: bool = False,
        both: bool = True,
        begin: Mapping[str, int] | None = None,
    ) -> dict[str, FileLog]:
        """Both logs, each from its offset in `begin` on; unless `both`, those that have files. Raises SettingsError.

        One file, or standard input, may be both where the mapping has a table for each.
        """
        if not EVENTS.keys() <= self.inputs.keys():
            refuse_shared(impressions, clicks)
        shared = all(STDIN in map(as_given, paths) for paths in (impressions, clicks))
        stdin = Copy() if shared else None
        given, begin = {"impressions": impressions, "clicks": clicks}, begin or {}
        return {
            log: FileLog(paths, log, keep=keep, mapping=self.inputs.get(log), stdin=stdin, begin=begin.get(log, 0))
            for log, paths in given.items()
            if paths or both
        }

    def read(self, schemas: Schemas | None) -> ReadValues:
        """What reads the values of topics for it."""
        return reading(self.inputs.values(), schemas, with_headers=self.file is not None and self.file.headers)

    def identity(self) -> dict[str, dict[str, str]]:
        """What a run says of its mapping: its name and the digest of what it says."""
        return {"mapping": {"name": self.file.name, "digest": self.file.digest}} if self.file is not None else {}


def read_input_maps(name: str) -> InputMaps:
    """The mapping that the join reads inputs through, of a file or a ready one. Raises SettingsError."""
    return input_maps(read_mapping_file(name, OPTION).text, name)


def sources_of(given: Sequence[str], schemas: Schemas | None) -> list[Source]:
    """The sources of `--source TOPIC=MAPPING`, whose values may have these schemas. Raises SettingsError."""
    sources: dict[str, Source] = {}
    for text in given:
        topic, _, name = text.partition("=")
        if not topic or not name:
            raise SettingsError(f"--source is {text!r}; give TOPIC=MAPPING, such as shop.events=mine.toml")
        if topic in sources:
            raise SettingsError(f"--source {topic} is given twice; one mapping may give both impressions and clicks")
        mapped = read_mapping_file(name, "--source")
        assert mapped.file is not None
        file = mapped.file
        sources[topic] = Source(
            *(topic, mapped.inputs, Values(mapped.inputs.values(), schemas)),
            name=file.name,
            digest=file.digest,
            with_headers=file.headers,
        )
    return list(sources.values())


@contextmanager
def value_schemas() -> Iterator[Schemas | None]:
    """The schemas of the registry of the environment, while the block runs; None where none is named."""
    settings = Environment().registry()
    if settings is None:
        yield None
        return
    from streams.ingest.registry import Registry

    with closing(Registry(settings)) as registry:
        yield Schemas(registry.fetch)


def read_mapping_file(name: str, option: str = "--map") -> Mapped:
    """The mapping in a file, or a ready one by its name; none for an empty name.

    Raises SettingsError that names the option.
    """
    if not name:
        return Mapped(None, {})
    text = ready(name)
    if text is None:
        try:
            text = Path(name).read_text("utf-8-sig")
        except FileNotFoundError as error:
            raise SettingsError(
                f"{option} {name} is no file and no ready mapping; ready ones are {', '.join(ready_names())}"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{option} {name} cannot be read: {error}") from error
    file = read_mapping(text, name)
    salts = {each: variable(each) for each in file.salts()}
    return Mapped(file, {log: Compiled(one, salts) for log, one in file.inputs.items()}, text)
