"""What files give under a mapping, without a run: what is accepted, refused and joined, and how late clicks come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from schemas.codec import encode
from schemas.events import Click, Impression
from streams.inputs.disorder import Disorder
from streams.inputs.sendable import ReadLog, Sendable
from streams.inputs.tally import faults
from streams.mapping.compiled import Compiled
from streams.mapping.language import Declared, paths_of

_EXAMPLES: Final = 2
_QUANTILES: Final = (0.5, 0.9, 0.99, 0.999)
# Windows and other bounds that people choose: the least that holds nearly all is suggested.
_ROUND_S: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400)
_DAY_S: Final = 86_400
_HELD: Final = 0.995


@dataclass
class Report:
    """The findings. Times are ms; `delays_ms` are of clicks whose impression is in the sample, sorted."""

    logs: Mapping[str, ReadLog]
    counts: dict[str, dict[str, int]]
    sendable: Mapping[str, Sendable]
    disorder: Mapping[str, Disorder]
    # By log the optional rules that have found nothing so far: a path may be misspelt.
    unseen: dict[str, list[Declared]]
    examples: dict[str, list[str]] = field(default_factory=dict)
    joined: list[str] = field(default_factory=list)
    delays_ms: list[int] = field(default_factory=list)
    clicks: int = 0

    @classmethod
    def of(cls, logs: Mapping[str, ReadLog], sample: int, inputs: Mapping[str, Compiled]) -> Report:
        """Looks at no more than `sample` good records of each log; those refused before them are read too.

        `inputs` has the mappings of those that have one.
        """
        counts = {log: dict.fromkeys(("consumed", "accepted", "late", "rejected"), 0) for log in logs}
        sendable = {log: Sendable(records) for log, records in logs.items()}
        report = cls(logs, counts, sendable, {log: Disorder() for log in logs}, _optional(inputs))
        shown: dict[str, Impression] = {}
        for impression in report._accepted("impressions", sample):
            assert isinstance(impression, Impression)
            shown.setdefault(impression.impression_id, impression)
        for click in report._accepted("clicks", sample):
            assert isinstance(click, Click)
            report.clicks += 1
            found = shown.get(click.impression_id)
            if found is not None:
                report.delays_ms.append(click.ts - found.ts)
                if len(report.joined) < _EXAMPLES:
                    report.joined.append(f"{encode(click).decode()} on {encode(found).decode()}")
        report.delays_ms.sort()
        counts["clicks"]["billable"] = len(report.delays_ms)
        return report

    def faults(self) -> list[str]:
        """Why a run could not be used; none when it could."""
        return faults(self.counts)

    def share(self) -> float | None:
        """The share of clicks whose impression is in the sample; None without clicks."""
        return len(self.delays_ms) / self.clicks if self.clicks else None

    def quantile(self, part: float) -> int:
        """The delay that this part of joined clicks does not exceed."""
        return self.delays_ms[min(int(part * len(self.delays_ms)), len(self.delays_ms) - 1)]

    def suggested(self) -> dict[str, str]:
        """Options that hold nearly all of the sample."""
        found = {}
        if self.delays_ms:
            found["--window"] = _duration(max(self.quantile(_HELD), 1))
            found["--skew"] = _duration(max(-self.delays_ms[0], 1))
        behind_ms = max(each.across_ms() for each in self.disorder.values())
        return found | {"--lateness": _duration(max(behind_ms, 1))}

    def figures(self) -> dict[str, Any]:
        """The findings as one object of JSON."""
        quantiles = {str(part): self.quantile(part) for part in _QUANTILES} if self.delays_ms else {}
        return {
            **self.counts,
            "joined_share": self.share(),
            "delay_ms": quantiles,
            "most_behind_ms": {log: each.across_ms() for log, each in self.disorder.items()},
            "most_behind_within_ms": {log: each.within_ms() for log, each in self.disorder.items()},
            "sources": {log: each.sources for log, each in self.disorder.items()},
            "suggested": self.suggested(),
        }

    def _accepted(self, log: str, sample: int) -> Iterator[Impression | Click]:
        files, counts, sendable = self.logs[log], self.counts[log], self.sendable[log]
        examples = self.examples.setdefault(log, [])
        for record, event in islice(sendable.events(), sample):
            counts["accepted"] += 1
            place = files.place(record.offset)
            if unseen := self.unseen.get(log):
                self.unseen[log] = [each for each in unseen if not _has(event, each.name)]
            self.disorder[log].add(place.file, record.record_ts_ms, event.ts)
            if len(examples) < _EXAMPLES:
                examples.append(f"{place}: {encode(event).decode()}")
            yield event
        counts["rejected"] = sendable.refused
        counts["consumed"] = counts["accepted"] + counts["rejected"]


def _optional(inputs: Mapping[str, Compiled]) -> dict[str, list[Declared]]:
    """By log the rules that may find nothing."""
    rules = {log: (*one.mapping.fields, *one.mapping.features) for log, one in inputs.items()}
    return {log: [each for each in of_log if each.rule.optional] for log, of_log in rules.items()}


def _has(event: Impression | Click, field: str) -> bool:
    name, _, inner = field.partition(".")
    found = getattr(event, name, None)
    return inner in (found or {}) if inner else found is not None


def lines(report: Report) -> Iterator[str]:
    """The findings for a person."""
    for log in report.logs:
        counts = report.counts[log]
        yield f"{log}: {counts['accepted']:,} accepted, {counts['rejected']:,} refused"
        yield from (f"  {example}" for example in report.examples.get(log, ()))
        yield from report.sendable[log].refusals()
        for rule in report.unseen.get(log, ()):
            paths = " or ".join(rule.rule.join or paths_of(rule.rule))
            yield f"  {rule.where}: no accepted record has {paths}; the rule is optional, so look whether it is right"
        disorder = report.disorder[log]
        within = _seconds(disorder.within_ms())
        if disorder.sources > 1:
            across = _seconds(disorder.across_ms())
            yield f"  event time is behind by up to {within} within one of {disorder.sources} sources, {across} across"
        else:
            yield f"  event time is behind by up to {within}"
    share = report.share()
    if share is not None:
        yield f"joined: {len(report.delays_ms):,} of {report.clicks:,} clicks, {share:.1%}"
        yield from (f"  {example}" for example in report.joined)
    if report.delays_ms:
        parts = ", ".join(f"{part:.1%} {_seconds(report.quantile(part))}" for part in _QUANTILES)
        yield f"delay of clicks: {parts}"
    yield "suggested: " + " ".join(f"{name} {value}" for name, value in report.suggested().items())


def _seconds(value_ms: int) -> str:
    return f"{value_ms / 1_000:,.3f} s"


def _duration(least_ms: int) -> str:
    """The least round duration that is not below `least_ms`."""
    least_s = -(-least_ms // 1_000)
    found_s = next((each for each in _ROUND_S if each >= least_s), -(-least_s // _DAY_S) * _DAY_S)
    for unit, size_s in (("d", _DAY_S), ("h", 3_600), ("m", 60)):
        if found_s % size_s == 0:
            return f"{found_s // size_s}{unit}"
    return f"{found_s}s"
