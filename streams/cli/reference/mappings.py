"""`reference/mappings.md`: the language of mappings and the ready ones, from the code."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import msgspec

from schemas.generate import field_texts
from streams.cli.reference.markdown import code, codes, page, table
from streams.mapping.language import ALWAYS, EVENTS, KEYS, PARTS, WHOLE, Condition, Rule, Table, kind_of
from streams.mapping.ready import pages, ready_names, title


def mappings_page() -> str:
    """The page."""
    return page(
        "Mappings",
        "A mapping says how records of another form become impressions and clicks. It is a TOML file with the tables "
        "`[impressions]`, `[clicks]` or both, given by `--map FILE`. "
        "[Your own data in ten minutes](../start/your-own-data.md) introduces it.",
        "## Rules",
        "A table has a rule for each field. A rule is a path as text, a list of paths, or a table with these keys:",
        table(("key", "of", "meaning"), _rules()),
        "A path has names with dots between them, places in lists in brackets, from 0 or from the end with -1, and "
        "names with any character in brackets and quotes: `a.b[0]['c d']`. A column of a table may have dots in its "
        "name. A value that is null or an empty text counts as absent.",
        "A record that a rule cannot use is refused, and the message names the file, the line, the rule and the value. "
        "So is a mapping with an unknown key, two rules for one field, or a rule that is of no use for all of the "
        "first records, before anything is decided.",
        "## Above the tables",
        table(("key", "meaning"), ((code(key), text) for key, text in WHOLE.items())),
        "## Fields",
        table(("field", "of", "kind", "required"), _fields()),
        "Texts may be numbers in the records: their digits become the text. Numbers may be texts.",
        "## Parts of a table",
        table(("part", "meaning"), ((code(part), text) for part, text in PARTS.items())),
        'A condition in `where` is `"path" = value`, `"path" = [values]`, or a table with these keys:',
        table(("key", "meaning"), _keys(Condition)),
        "`table` has these keys:",
        table(("key", "meaning"), _keys(Table)),
        "## Ready mappings",
        "`--map NAME` uses one, `clickfold map show NAME` writes it out, as the beginning of your own.",
        table(("name", "of", "fields"), ((code(name), title(name), _links(name)) for name in ready_names())),
    )


def _links(name: str) -> str:
    return ", ".join(f"[{urlsplit(page).hostname}]({page})" for page in pages(name))


def _rules() -> Iterator[tuple[str, str, str]]:
    texts = field_texts(Rule)
    for field in msgspec.structs.fields(Rule):
        name = field.encode_name
        kinds = [kind for kind, keys in KEYS.items() if name in keys]
        yield code(name), "all" if name in ALWAYS else ", ".join(kinds), texts[field.name]


def _keys(kind: type) -> Iterator[tuple[str, str]]:
    texts = field_texts(kind)
    for field in msgspec.structs.fields(kind):
        yield code(field.encode_name), texts[field.name]


def _fields() -> Iterator[tuple[str, str, str, str]]:
    fields = {field.name: field for kind in EVENTS.values() for field in msgspec.structs.fields(kind)}
    for name in fields:
        if name == "features":
            continue
        logs = [log for log, kind in EVENTS.items() if name in kind.__struct_fields__]
        yield code(name), codes(logs), kind_of(name), "yes" if fields[name].required else ""
