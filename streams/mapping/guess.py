"""A mapping guessed from samples: which column is which field, in which unit, and which columns join.

Each guess says in a comment what it is made from. It is a draft for a person, and `map check` shows what it gives.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from schemas.errors import SettingsError
from streams.mapping.columns import Column, columns_of
from streams.mapping.language import EVENTS, comparable
from streams.mapping.values import shown

# Names of columns by field, as `Column.name` has them, the best first.
NAMES: Final = {
    "ts": (
        *("ts", "timestamp", "eventtime", "time", "eventts", "tsms", "timestampms", "datetime", "eventtimestamp"),
        *("collectortstamp", "derivedtstamp", "originaltimestamp", "createdat", "servertime", "impressiontime"),
        *("clicktime", "clicktimestamp", "showtime", "date", "hour", "at", "t"),
    ),
    "impression_id": (
        *("impressionid", "impid", "impressionuuid", "auctionid", "requestid", "bidid", "viewid", "adimpressionid"),
        *("eventid", "messageid", "uuid", "id", "uid"),
    ),
    "click_id": ("clickid", "clickuuid", "klickid", "gclid", "eventid", "messageid", "uuid", "id"),
    "campaign_id": (
        *("campaignid", "campaign", "cid", "campid", "lineitemid", "orderid", "adgroupid", "campaignname", "lineitem"),
        *("lineitemname", "kampagne", "campagne", "c"),
    ),
    "creative_id": (
        *("creativeid", "creative", "crid", "adid", "ad", "bannerid", "banner", "adname", "creativename", "bannername"),
        "werbemittel",
    ),
    "price_micros": (
        *("pricemicros", "costmicros", "clickprice", "cpc", "price", "cost", "bidprice", "paidprice", "payingprice"),
        *("winprice", "spend", "costvalue", "revenue", "bid"),
    ),
    "bid_micros": ("bidmicros", "bidprice", "biddingprice"),
    "advertiser_id": ("advertiserid", "advertiser"),
    "placement": ("placement", "placementid", "tagid", "slotid", "adslotid", "adunit", "adunitid"),
    "country": ("country", "countrycode", "geocountry"),
    "device": ("device", "devicetype", "devicecategory"),
    "user_id": ("userid", "anonymousid", "deviceid", "cookieid", "visitorid", "useridentifier"),
    "pctr": ("pctr", "predictedctr"),
}
_NEEDED: Final = {
    "impressions": ("impression_id", "ts", "campaign_id", "creative_id", "price_micros"),
    "clicks": ("click_id", "impression_id", "ts"),
}
_OPTIONAL: Final = ("bid_micros", "advertiser_id", "placement", "country", "device", "user_id", "pctr")
# Parts of words, of other languages too.
_CLICK_WORDS: Final = ("clic", "clk", "klick")
_IMPRESSION_WORDS: Final = ("imp", "view", "show", "win", "served", "einblendung", "anzeige", "affichage")
_PRICE_WORDS: Final = ("cpc", "price", "cost", "preis", "prix", "kosten")
# What is known only after the impression: a model that reads it learns the answer.
_LATER_WORDS: Final = (*_CLICK_WORDS, "convers", "attribut", "purchase")
_LABELS: Final = ("click", "clicked", "isclick", "clicks")
_UNKNOWN_ORIGIN: Final = "2020-01-01T00:00:00Z"
_MOST_FEATURES: Final = 40
# A column with more different values than this part of the records names things and is no input of a model.
_NAMES_THINGS: Final = 0.5
# Above it a whole amount is micros: a click of ten thousand units is none.
_MICROS: Final = 10_000


class Sample(NamedTuple):
    """Records of one file or topic, and its name. `headers`: headers of Kafka's records say what their values are."""

    name: str
    records: Sequence[Any]
    headers: bool = False


def guess(samples: Sequence[Sample]) -> str:
    """The text of a mapping. One sample may have both inputs. Raises SettingsError when a sample has no records."""
    for sample in samples:
        if not any(isinstance(record, dict) for record in sample.records):
            raise SettingsError(f"{sample.name} has no records to guess from")
    columns = [columns_of(sample.records) for sample in samples]
    sources = _sources(samples, columns)
    joined = _joined(sources)
    parts = ["# Guessed from a sample; look at each comment, then run `clickfold map check`."]
    if any(sample.headers for sample in samples):
        parts.append("# Headers say what values are: CloudEvents in binary mode, or schemas.\nheaders = true")
    for log, source in sources.items():
        parts.append(_Guess(log, source, joined.get(log)).text())
    return "\n\n".join(parts) + "\n"


class _Source(NamedTuple):
    """The columns of the records of one input, and the conditions that choose them."""

    name: str
    columns: Mapping[str, Column]
    where: dict[str, Any]


def _sources(samples: Sequence[Sample], columns: Sequence[Mapping[str, Column]]) -> dict[str, _Source]:
    if len(samples) == 1:
        return _of_one(samples[0], columns[0])
    scores = [_click_score(each) for each in columns]
    clicks = max(range(len(samples)), key=scores.__getitem__)
    others = [place for place in range(len(samples)) if place != clicks]
    return {
        "impressions": _Source(samples[others[0]].name, columns[others[0]], {}),
        "clicks": _Source(samples[clicks].name, columns[clicks], {}),
    }


def _of_one(sample: Sample, columns: Mapping[str, Column]) -> dict[str, _Source]:
    """The inputs of one file: both by a column that names the event or says who clicked, else the one it looks like."""
    for column in columns.values():
        values = {str(value) for value in column.there}
        clicks = sorted(value for value in values if any(word in value.lower() for word in _CLICK_WORDS))
        shown_ = sorted(
            value
            for value in values - set(clicks)
            if any(word in value.lower() for word in _IMPRESSION_WORDS) and len(value) < 40
        )
        if clicks and shown_ and len(values) <= 50:
            return {
                log: _chosen(sample, column, chosen) for log, chosen in (("impressions", shown_), ("clicks", clicks))
            }
        if column.name in _LABELS and {comparable(value) for value in column.there} <= {"0", "1", "true", "false"}:
            yes = next((comparable(v) for v in column.there if comparable(v) in ("1", "true")), "1")
            return {
                "impressions": _Source(sample.name, columns, {}),
                "clicks": _chosen(sample, column, [yes])
                if yes in map(comparable, column.there)
                else _Source(sample.name, columns, {column.path: yes}),
            }
    log = "clicks" if _click_score(columns) > 0 else "impressions"
    return {log: _Source(sample.name, columns, {})}


def _chosen(sample: Sample, column: Column, values: list[str]) -> _Source:
    records = [
        record for record, value in zip(sample.records, column.values, strict=True) if comparable(value) in values
    ]
    return _Source(sample.name, columns_of(records), {column.path: values if len(values) > 1 else values[0]})


def _click_score(columns: Mapping[str, Column]) -> int:
    """How much the columns look like those of clicks: above 0 for clicks."""
    names = {column.name for column in columns.values()}
    clicks = len(names & {"clickid", "gclid", "clickts", "clicktime", "clicktimestamp"})
    shown_ = len(names & {*NAMES["price_micros"], *NAMES["creative_id"], *NAMES["campaign_id"]})
    return 2 * clicks - shown_ if clicks or shown_ else 0


def _joined(sources: Mapping[str, _Source]) -> dict[str, tuple[str, str]]:
    """By input the path of the impression id that most clicks share with impressions, and a comment."""
    if len(sources) < 2:
        return {}
    best: tuple[float, int, str, str] | None = None
    for ours in _candidates("impression_id", sources["impressions"].columns, any_name=True):
        for theirs in _candidates("impression_id", sources["clicks"].columns, any_name=True):
            if not theirs.distinct or (len(ours.distinct) < 2 and len(ours.there) > 1):
                continue
            shared = len(theirs.distinct & ours.distinct) / len(theirs.distinct)
            unique = len(ours.distinct) / max(len(ours.there), 1)
            score = shared * unique
            rank = -_rank("impression_id", ours) - _rank("impression_id", theirs)
            if score > 0 and (best is None or (score, rank) > best[:2]):
                best = score, rank, ours.path, theirs.path
    if best is None:
        return {}
    clicks = sources["clicks"].columns[best[3]]
    shared = len(clicks.distinct & sources["impressions"].columns[best[2]].distinct)
    said = f"{shared:,} of {len(clicks.distinct):,} ids of clicks in the sample are those of impressions in it"
    return {"impressions": (best[2], said), "clicks": (best[3], said)}


def _rank(field: str, column: Column) -> int:
    names = NAMES[field]
    return min((names.index(name) for name in column.names if name in names), default=len(names))


def _is_named(field: str, column: Column) -> bool:
    return _rank(field, column) < len(NAMES[field])


def _has_word(column: Column, words: Sequence[str]) -> bool:
    return any(word in column.name for word in words)


def _candidates(field: str, columns: Mapping[str, Column], *, any_name: bool = False) -> list[Column]:
    """Columns that may be the field, the likeliest first."""
    found = [column for column in columns.values() if column.there and (any_name or _is_named(field, column))]
    if any_name:
        # Amounts and times join nothing.
        found = [c for c in found if _is_named(field, c) or (c.time is None and not _has_fraction(c))]
    return sorted(found, key=lambda column: (_rank(field, column), -column.share))


def _has_fraction(column: Column) -> bool:
    return column.numbers is not None and any(value != int(value) for value in column.numbers)


class _Guess:
    """The rules of one input."""

    def __init__(self, log: str, source: _Source, joined: tuple[str, str] | None) -> None:
        self._log = log
        self._source = source
        self._columns = source.columns
        self._joined = joined
        self._used = set(source.where)

    def text(self) -> str:
        """The table of TOML."""
        lines = [f"# From {self._source.name}.", f"[{self._log}]"]
        lines += [self._line(field) for field in _NEEDED[self._log]]
        if self._log == "impressions":
            lines += [line for field in _OPTIONAL if (line := self._optional(field))]
        if self._source.where:
            lines += ["", f"[{self._log}.where]"]
            lines += [f"{_key(path)} = {_toml(value)}" for path, value in self._source.where.items()]
        if self._log == "impressions":
            lines += self._features()
        lines[1:1] = self._several()
        return "\n".join(lines)

    def _several(self) -> list[str]:
        """A comment where a record has a list of several things, of which the rules take the first."""
        used = [self._columns[path] for path in self._used if path in self._columns]
        most = max(used, key=lambda column: column.several, default=Column(""))
        if most.several == 1:
            return []
        named = most.path[: most.path.rindex("[0]")]
        return [f"# GUESS: up to {most.several} in {named}, and a record gives one event: that of the first."]

    def _line(self, field: str) -> str:
        if field == "impression_id" and self._joined is not None:
            path, said = self._joined
            self._used.add(path)
            return f"{field} = {_toml(path)}  # {said}"
        if field == "ts":
            return self._time()
        if field == "price_micros":
            return self._price()
        found = _candidates(field, self._columns)
        if field in ("impression_id", "click_id"):
            found = [one for one in found if self._is_unique(one)] or found
        if field == "click_id":
            found = [one for one in found if one.path not in self._used or one.name == "clickid"] or self._clicks()
        if not found and field == "impression_id":
            found = [one for one in _candidates(field, self._columns, any_name=True) if self._is_unique(one)]
        if not found:
            return self._absent(field)
        return self._chosen(field, found, {}, f"such as {shown(found[0].there[0])}")

    def _clicks(self) -> list[Column]:
        """Columns that have a word for a click in their name, and other values in each record."""
        named = [one for one in self._columns.values() if one.path not in self._used and _has_word(one, _CLICK_WORDS)]
        return [one for one in named if self._is_unique(one) and one.time is None and not _has_fraction(one)]

    def _is_unique(self, column: Column) -> bool:
        return column.share == 1 and len(column.distinct) == len(column.there)

    def _absent(self, field: str) -> str:
        if field == "click_id":
            ours = self._joined[0] if self._joined else next(iter(self._columns))
            parts = _toml([ours, self._time_path()])
            return f'click_id = {{ join = {parts}, with = "-" }}  # no column names clicks'
        have = ", ".join(list(self._columns)[:12])
        if field == "impression_id":
            return f'impression_id = "id"  # GUESS FAILED: no column is unique; there are {have}'
        return f'{field} = {{ constant = "none" }}  # no column looks like it; there are {have}'

    def _time_path(self) -> str:
        found = [one for one in _candidates("ts", self._columns) if one.time is not None]
        any_ = [one for one in self._columns.values() if one.time is not None]
        named = _candidates("ts", self._columns)
        return (found or any_ or named or list(self._columns.values()))[0].path

    def _time(self) -> str:
        column = self._columns[self._time_path()]
        how = column.time
        if how is not None:
            same = [one for one in _candidates("ts", self._columns) if one.time == how] or [column]
            unclear = "; GUESS: the month first, and each fits with the day first too" if column.is_day_unclear else ""
            return self._chosen("ts", same, how, f"{shown(column.there[0])} is {column.moment()}{unclear}")
        if column.numbers is not None:
            self._used.add(column.path)
            return (
                f'ts = {{ path = {_toml(column.path)}, unit = "s", origin = "{_UNKNOWN_ORIGIN}" }}  # GUESS: counts '
                f"from {min(column.numbers)}, of which the origin is not known"
            )
        return f"ts = {_toml(column.path)}  # GUESS FAILED: {shown(column.there[0])} is no time that is known"

    def _price(self) -> str:
        found = [one for one in _candidates("price_micros", self._columns) if one.money is not None]
        if not found:
            named = [one for one in self._columns.values() if one.there and _has_word(one, _PRICE_WORDS)]
            found = [one for one in named if one.money is not None and one.time is None]
        if not found:
            return "price_micros = { constant = 0 }  # no column looks like a price"
        form = _form(found[0])
        found = [one for one in found if _form(one) == form]
        unit, said = _unit(found)
        rest = {**({"unit": unit} if unit else {}), **form}
        return self._chosen("price_micros", found, rest, f"{shown(found[0].there[0])}: {said}")

    def _chosen(self, field: str, found: Sequence[Column], rest: Mapping[str, str], comment: str) -> str:
        """A rule of the likeliest column, and of the next ones for records without it."""
        paths, lacking = [], set(range(len(found[0].values)))
        for column in found:
            more = {place for place in lacking if column.values[place] not in (None, "")}
            if more:
                paths.append(column.path)
                lacking -= more
        self._used |= set(paths)
        path: Any = paths[0] if len(paths) == 1 else paths
        if not rest:
            return f"{field} = {_toml(path)}  # {comment}"
        keys = ", ".join(f"{key} = {_toml(value)}" for key, value in {"path": path, **rest}.items())
        return f"{field} = {{ {keys} }}  # {comment}"

    def _optional(self, field: str) -> str:
        found = [one for one in _candidates(field, self._columns) if one.path not in self._used]
        if not found:
            return ""
        column, how = found[0], ""
        if field.endswith("_micros"):
            if column.numbers is None:
                return ""
            unit, _ = _unit([column])
            how = f', unit = "{unit}"' if unit else ""
        self._used.add(column.path)
        return f"{field} = {{ path = {_toml(column.path)}, optional = true{how} }}  # such as {shown(column.there[0])}"

    def _features(self) -> list[str]:
        lines: list[str] = []
        for column in self._columns.values():
            if column.path in self._used or not column.there or column.time is not None:
                continue
            names_things = len(column.distinct) > max(_NAMES_THINGS * len(column.there), 2)
            if names_things and not _has_fraction(column):
                continue
            if len(lines) == _MOST_FEATURES or _is_named("user_id", column):
                continue
            if _has_word(column, _LATER_WORDS):
                lines.append(f"# {column.path} is left out: it may be known only after the impression")
                continue
            as_number = column.numbers is not None and all(isinstance(value, str) for value in column.there)
            key = "_".join(part for part in column.path.replace("[", ".").replace("]", "").split(".") if part)
            more = ', as = "number"' if as_number else ""
            rule = f"{{ path = {_toml(column.path)}, optional = true{more} }}"
            lines.append(f"{_key(key)} = {rule}  # {len(column.distinct):,} values, such as {shown(column.there[0])}")
        return ["", "[impressions.features]", *lines] if lines else []


def _unit(columns: Collection[Column]) -> tuple[str, str]:
    """The unit of an amount, empty for whole micros, and why."""
    values = [value for column in columns for value in (column.money or ((), ()))[1]]
    if any(value != int(value) for value in values):
        return "units", "a fraction, so it is units of the currency"
    if any("micro" in column.name for column in columns) or max(values) >= _MICROS:
        return "", "whole and large or named so, so it is micros"
    if any("cent" in column.name for column in columns):
        return "cents", "named so"
    return "units", "GUESS: whole and small, so it may be units, cents or micros"


def _form(column: Column) -> dict[str, str]:
    """How the texts of amounts are written, besides their unit."""
    return column.money[0] if column.money is not None else {}


def _key(text: str) -> str:
    return text if text.replace("_", "").replace("-", "").isalnum() and text.isascii() else _toml(text)


def _toml(value: Any) -> str:
    """A value as TOML has it: a text of JSON is one of TOML."""
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return msgspec.json.encode(value).decode()


assert set(_NEEDED) == set(EVENTS)
