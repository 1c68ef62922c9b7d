"""The language of mappings: one TOML file with the tables `impressions` and `clicks`, read and checked.

A table has a rule for each field of the event. A rule is a path as text, or a table with the keys of `Rule`. There is
no code and no template: a rule gives a value or a reason for refusing the record. Nothing here reads a file.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from datetime import UTC, tzinfo
from typing import Any, Final, Literal

import msgspec

from schemas.errors import SettingsError
from schemas.events import Click, Impression
from schemas.moments import moment_ms
from schemas.zones import zone
from streams.mapping.lines import Lines
from streams.mapping.money import UNITS as MONEY_UNITS
from streams.mapping.paths import FieldPath, FieldPattern, field_path, field_pattern
from streams.mapping.times import ISO
from streams.mapping.times import UNITS as TIME_UNITS

EVENTS: Final[dict[str, type[msgspec.Struct]]] = {"impressions": Impression, "clicks": Click}
# What a file may say besides its tables, above them.
WHOLE: Final = {
    "headers": "`true`: the headers of Kafka's records say what their values are. A CloudEvent in binary mode is read "
    "as the object that it is in structured mode, and a schema is found whose id a serializer of Confluent or Apicurio "
    "has written into a header. Files have no headers; the same mapping reads them.",
}
# The parts of a table besides its fields.
PARTS: Final = {
    "where": "Conditions on the records of this input. All must hold; other records are left to the other input.",
    "features": "Inputs of the model, of impressions alone: a rule for each name.",
    "feature_patterns": "Fields that become features under their own names: `context.*` takes all of an object, `f_*` "
    "fields of the record with such names. A feature that has a rule of its own comes from that.",
    "null": "Texts that count as absent, such as `null` or `-`.",
    "table": "How a table without a schema is read.",
}
# What a rule may have besides where its value comes from, by the kind of its field.
KEYS: Final = {
    "time": {"unit", "pattern", "zone", "origin"},
    "money": {"unit", "decimal", "currency", "cpm", "click_rate"},
    "text": {"join", "with", "hash_with"},
    "share": set[str](),
    "feature": {"as", "decimal"},
}
ALWAYS: Final = {"path", "constant", "default", "optional"}


class Rule(msgspec.Struct, frozen=True, rename={"with_": "with", "as_": "as"}, forbid_unknown_fields=True):
    """How one field is found: by `path` (the first of several that is there), `join` or `constant`.

    A field that is not there has its `default`. `optional` says that a path may match nothing at all.
    """

    path: str | list[str] = msgspec.field(default_factory=list)
    """Where the value is, such as `imp[0].banner["w x"]`; of a list of paths the first that is there."""
    constant: str | int | float | bool | None = None
    """The value of every record, in place of a path."""
    default: str | int | float | bool | None = None
    """The value of a record that has none."""
    optional: bool = False
    """The path may match nothing in any record. Without it such a rule is refused at the start."""
    unit: str = ""
    """Of a time `s`, `ms` (also without a unit), `us`, `ns` or `iso`; of an amount `micros`, `cents` or `units`. An
    amount without a unit must be whole micros."""
    pattern: str = ""
    """A time as Python's `strptime` describes it, such as `%d/%b/%Y:%H:%M:%S %z`. `%f` takes one to six digits."""
    zone: str = ""
    """Zone of times that have none, such as `Asia/Tokyo`; UTC without it. An hour that it has twice is the first."""
    origin: str = ""
    """The moment from which numbers count; 1970 without it."""
    decimal: Literal["", ","] = ""
    """`,` where an amount as text has a comma before its fraction, and points between thousands or nothing. Of a
    feature with `as = "number"` too."""
    currency: str = ""
    """What is written before or behind an amount, such as `$` or `EUR`; an amount with another one is refused."""
    cpm: bool = False
    """The amount is for a thousand impressions."""
    click_rate: float | str | None = None
    """The share of impressions that is clicked, or a path to it: a click costs what its impressions cost, so the amount
    is divided by it. `price_micros` with `cpm` needs it; 1 charges a click with its own impression alone."""
    join: list[str] = msgspec.field(default_factory=list)
    """Paths whose texts are joined, in place of a path; all must be there."""
    with_: str = ""
    """What is between joined texts."""
    hash_with: str = ""
    """The variable of the environment that holds a salt: the value becomes its HMAC-SHA256, 32 hexadecimal digits."""
    as_: Literal["", "text", "number"] = ""
    """What a feature becomes: `text`, or `number` where a text has one. Without it the feature stays what it is."""


class Condition(msgspec.Struct, frozen=True, rename={"is_": "is", "not_": "not"}, forbid_unknown_fields=True):
    """What a value must be for its record to be one of this input: one of `is`, none of `not`, there or not."""

    is_: list[str] | None = None
    """One of these values; `path = value` and `path = [values]` are short for it. 1, 1.0 and "1" are equal."""
    not_: list[str] | None = None
    """None of these values; a record without a value is taken."""
    exists: bool | None = None
    """There must be a value, or there must be none."""


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How files without a schema are read: cells between delimiters, and names where no first line has them."""

    delimiter: str = ""
    """The character between cells; found by the first lines without it."""
    names: list[str] = msgspec.field(default_factory=list)
    """The names of columns, for a file without a first line of names."""


class Declared(msgspec.Struct, frozen=True):
    """One rule with its name, such as `ts` or `features.os`, its kind and where it is written."""

    name: str
    kind: str
    rule: Rule
    place: str = ""

    @property
    def where(self) -> str:
        """The file, line and name of the rule, as messages begin."""
        return f"{self.place}, {self.name}" if self.place else self.name


class InputMapping(msgspec.Struct, frozen=True):
    """The mapping of one input, checked."""

    log: str
    fields: tuple[Declared, ...]
    features: tuple[Declared, ...]
    patterns: tuple[FieldPattern, ...]
    where: tuple[tuple[FieldPath, Condition, str], ...]
    null: tuple[str, ...]
    table: Table


class MappingFile(msgspec.Struct, frozen=True):
    """A mapping of one or both inputs. `digest` is of what it says, not of how it is written.

    `headers`: see `WHOLE`.
    """

    name: str
    digest: str
    inputs: dict[str, InputMapping]
    headers: bool = False

    def salts(self) -> set[str]:
        """The variables of the environment that hold a salt."""
        rules = [each.rule for one in self.inputs.values() for each in (*one.fields, *one.features)]
        return {rule.hash_with for rule in rules if rule.hash_with}


def read_mapping(text: str, name: str) -> MappingFile:
    """The mapping in a text of TOML. Raises SettingsError that names the file, the line and the rule."""
    lines = Lines(text, name)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise lines.wrong_toml(error) from error
    headers = tables.pop("headers", False)
    if not isinstance(headers, bool):
        raise SettingsError(f"{lines.place('headers')}: headers is true or false, above the tables; not {headers!r}")
    for key in tables:
        if key not in EVENTS:
            raise SettingsError(f"{lines.place(key)}: no input has the name {key!r}; give [impressions] or [clicks]")
    if not tables:
        raise SettingsError(f"{name} maps nothing; give it a table [impressions], [clicks] or both")
    inputs = {log: _Reader(lines, log).input(table) for log, table in tables.items()}
    canonical = msgspec.json.encode(tables | {"headers": True} if headers else tables, order="sorted")
    return MappingFile(name, hashlib.sha256(canonical).hexdigest()[:16], inputs, headers)


def own_form(log: str) -> InputMapping:
    """The mapping of files whose columns have the names of clickfold's own form."""
    kind = EVENTS[log]
    fields = []
    for field in msgspec.structs.fields(kind):
        if field.name != "features":
            rule = Rule(path=field.name, optional=not field.required)
            fields.append(Declared(field.name, kind_of(field.name), rule))
    patterns = (field_pattern("features.*"),) if kind is Impression else ()
    return InputMapping(log, tuple(fields), (), patterns, (), (), Table())


def kind_of(field: str) -> str:
    """What a field of an event holds."""
    if field == "ts":
        return "time"
    if field.endswith("_micros"):
        return "money"
    return "share" if field == "pctr" else "text"


class _Reader:
    def __init__(self, lines: Lines, log: str) -> None:
        self._lines = lines
        self._log = log

    def input(self, table: Any) -> InputMapping:
        if not isinstance(table, dict):
            raise SettingsError(f"{self._at()} is no table; write [{self._log}] and a rule a line")
        known = {field.name: field for field in msgspec.structs.fields(EVENTS[self._log])}
        known.pop("features", None)
        parts = tuple(PARTS) if self._log == "impressions" else ("where", "null", "table")
        for key in table:
            if key not in known and key not in parts:
                near = difflib.get_close_matches(key, (*known, *parts), n=1)
                hint = f"is it {near[0]}?" if near else f"they have {', '.join((*known, *parts))}"
                raise SettingsError(f"{self._at(key)}: {self._log} have no field {key!r}; {hint}")
        missing = [name for name, field in known.items() if field.required and name not in table]
        if missing:
            raise SettingsError(f"{self._at()}: there is no rule for {', '.join(missing)}, which each event needs")
        fields = [self._rule(name, kind_of(name), table[name], name) for name in known if name in table]
        features = table.get("features", {})
        if not isinstance(features, dict):
            raise SettingsError(f"{self._at('features')}: features are a table, with a rule a line")
        return InputMapping(
            self._log,
            tuple(fields),
            tuple(self._rule(f"features.{name}", "feature", rule, "features", name) for name, rule in features.items()),
            tuple(self._pattern(text) for text in self._part(table, "feature_patterns", list[str], [])),
            tuple(self._conditions(table.get("where", {}))),
            tuple(self._part(table, "null", list[str], [])),
            self._table(table),
        )

    def _table(self, table: dict[str, Any]) -> Table:
        found: Table = self._part(table, "table", Table, Table())
        if found.delimiter and len(found.delimiter) != 1:
            raise SettingsError(f"{self._at('table', 'delimiter')}: {found.delimiter!r} is not one character")
        return found

    def _pattern(self, text: str) -> FieldPattern:
        try:
            return field_pattern(text)
        except ValueError as error:
            raise SettingsError(f"{self._at('feature_patterns')}: {error}") from error

    def _conditions(self, where: Any) -> list[tuple[FieldPath, Condition, str]]:
        if not isinstance(where, dict):
            raise SettingsError(f"{self._at('where')}: conditions are a table, path = value a line")
        found = []
        for path, value in where.items():
            place = self._at("where", path)
            if isinstance(value, dict):
                if not value.keys() <= {"is", "not", "exists"}:
                    raise SettingsError(
                        f"{place}, where {path}: a condition has is, not and exists; a path with dots is in quotes: "
                        f'"{path}.{next(iter(value))}" = …'
                    )
                listed = {name: _listed(each) if name != "exists" else each for name, each in value.items()}
                condition = self._converted(listed, Condition, place)
            else:
                condition = Condition(is_=_listed(value))
            found.append((self._path(path, place), condition, place))
        return found

    def _rule(self, name: str, kind: str, given: Any, *key: str) -> Declared:
        place = self._at(*key)
        if isinstance(given, str | list):
            given = {"path": given}
        if not isinstance(given, dict):
            raise SettingsError(f"{place}, {name}: {given!r} is no path; a fixed value is {{ constant = … }}")
        for each in given:
            if each not in KEYS[kind] | ALWAYS:
                raise SettingsError(
                    f"{self._at(*key, each)}, {name}: a rule of this field has no key {each!r}; it has "
                    f"{', '.join(sorted(KEYS[kind] | ALWAYS))}"
                )
        rule: Rule = self._converted(given, Rule, f"{place}, {name}")
        self._check(rule, kind, f"{place}, {name}")
        return Declared(name, kind, rule, place)

    def _check(self, rule: Rule, kind: str, place: str) -> None:
        """Raises SettingsError for a rule that contradicts itself or means nothing."""
        sources = [bool(rule.path), rule.constant is not None, bool(rule.join)]
        if sum(sources) != 1:
            raise SettingsError(f"{place}: give one of path, join and constant")
        for text in (*paths_of(rule), *rule.join):
            self._path(text, place)
        if isinstance(rule.click_rate, str):
            self._path(rule.click_rate, place)
        if kind == "time":
            if rule.unit and rule.unit not in (*TIME_UNITS, ISO):
                raise SettingsError(f'{place}: no time has the unit "{rule.unit}"; give s, ms, us, ns or iso')
            if rule.unit and rule.pattern:
                raise SettingsError(f"{place}: give a unit or a pattern, not both")
            zone_of(rule, place)
            origin_ms(rule, place)
        if kind == "feature" and rule.decimal and rule.as_ != "number":
            raise SettingsError(f'{place}: decimal is for numbers; give as = "number" too')
        if kind == "money":
            if re.search(r"[\d.,+-]", rule.currency):
                raise SettingsError(f"{place}: currency is {rule.currency!r}; give the sign or the letters alone")
            if rule.unit and rule.unit not in MONEY_UNITS:
                raise SettingsError(f'{place}: no amount has the unit "{rule.unit}"; give micros, cents or units')
            if rule.cpm and not rule.unit:
                raise SettingsError(f"{place}: an amount for a thousand needs its unit: micros, cents or units")
            if rule.cpm and place.endswith(", price_micros") and rule.click_rate is None:
                raise SettingsError(
                    f"{place}: a click costs what the impressions cost that it takes; give click_rate, such as 0.002, "
                    "or a path to it; 1 charges a click with the cost of its impression alone"
                )

    def _path(self, text: str, place: str) -> FieldPath:
        try:
            return field_path(text)
        except ValueError as error:
            raise SettingsError(f"{place}: {error}") from error

    def _part(self, table: dict[str, Any], name: str, kind: Any, default: Any) -> Any:
        return self._converted(table[name], kind, f"{self._at(name)}, {name}") if name in table else default

    def _converted(self, given: Any, kind: Any, place: str) -> Any:
        try:
            return msgspec.convert(given, kind)
        except msgspec.ValidationError as error:
            raise SettingsError(f"{place}: {error}") from error

    def _at(self, *key: str) -> str:
        return self._lines.place(self._log, *key)


def paths_of(rule: Rule) -> list[str]:
    """The paths of a rule, of which the first that is there counts."""
    return [rule.path] if isinstance(rule.path, str) else rule.path


def zone_of(rule: Rule, place: str = "") -> tzinfo:
    """The time zone of times that have none. Raises SettingsError, which names the place of the rule."""
    found = zone(rule.zone) if rule.zone else UTC
    if found is None:
        raise SettingsError(f"{place}: no time zone has the name {rule.zone!r}; give an IANA name, such as Asia/Tokyo")
    return found


def origin_ms(rule: Rule, place: str = "") -> int:
    """Where numbers of times begin, ms UTC. Raises SettingsError, which names the place of the rule."""
    if not rule.origin:
        return 0
    try:
        return moment_ms(rule.origin)
    except ValueError as error:
        raise SettingsError(f"{place}: the origin {rule.origin!r} is no ISO 8601") from error


def _listed(value: Any) -> list[str]:
    return [comparable(each) for each in (value if isinstance(value, list) else [value])]


_WHOLE: Final = re.compile(r"-?\d+\.0+")


def comparable(value: Any) -> str:
    """The text by which a condition compares a value: 1, 1.0 and "1" are equal, as are true and "true"."""
    if isinstance(value, bool):
        return "true" if value else "false"
    found = str(value)
    return found.partition(".")[0] if _WHOLE.fullmatch(found) else found
