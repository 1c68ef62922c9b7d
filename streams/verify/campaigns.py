"""Compares the history of campaigns with what it was made from, and pacing and ClickHouse with the history."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from schemas.campaigns import CampaignChange
from schemas.codec import decode, decoder
from schemas.events import Campaign, decode_event
from schemas.reading import Unreadable, read
from schemas.rejects import Rejected
from schemas.zones import zone
from streams.kafka.cluster import Cluster
from streams.kafka.reads import read_all, read_log
from streams.verify.check import Check
from streams.verify.clickhouse_rows import ClickHouseRows
from streams.verify.decisions import InForce
from streams.verify.downstream import WaitPolicy
from streams.verify.oracle import Key
from streams.verify.pacing_counters import PacingCounters
from streams.verify.settled import committed_offsets

_INPUT = "campaigns"
_HISTORY = "campaign_history"
# Fields that ClickHouse has under the same names, and what it has where a campaign does not give one.
_TERMS: Mapping[str, object] = {
    "currency": "",
    "advertiser_id": "",
    "pacing": "",
    "max_bid_micros": None,
    "lifetime_budget_micros": None,
    "curve": (),
    "min_bid_multiplier": None,
    "max_bid_multiplier": None,
    "hourly_cap_micros": None,
    "dayparts": "",
    "budget_id": "",
    "shared_budget_micros": None,
    "priority": 0,
    "frequency_cap": None,
    "frequency_period_s": None,
}
_COLUMNS = (
    *("in force from", "partition", "offset", "withdrawn", "version", "budget", "status", "zone", "start", "end"),
    *_TERMS,
)


class Kept(NamedTuple):
    """A change, and its own place in `ads.campaign_history`."""

    partition: int
    offset: int
    change: CampaignChange


class CampaignHistory:
    """All changes in Kafka, in the order of each partition."""

    def __init__(self, cluster: Cluster, partitions: int) -> None:
        self._cluster = cluster
        self._partitions = partitions
        self._kept = list(self._read())
        # By campaign, its last change.
        self.latest = {each.change.campaign_id: each.change for each in self._kept}

    def _read(self) -> Iterator[Kept]:
        for partition in range(self._partitions):
            for record in read_log(self._cluster, _HISTORY, partition):
                change = read(record.value, decoder(CampaignChange).decode)
                if not isinstance(change, Unreadable):
                    yield Kept(partition, record.offset, change)

    def time_zones(self) -> dict[str, str]:
        """The time zone of each campaign that is in force."""
        return {name: change.campaign.timezone for name, change in self.latest.items() if change.campaign is not None}

    def in_force(self) -> dict[str, list[InForce]]:
        """By campaign what was in force, and since when by the wall clock, ascending."""
        found: defaultdict[str, list[InForce]] = defaultdict(list)
        for each in self._kept:
            found[each.change.campaign_id].append(InForce(each.change.in_force_ms, each.change.campaign))
        return found

    def compare_with_source(self, check: Check) -> None:
        """Changes follow the rules, and each record that Kafka still has of `ads.campaigns` has come to something."""
        by_campaign: defaultdict[str, list[CampaignChange]] = defaultdict(list)
        for each in self._kept:
            check.compared += 1
            if each.partition != each.change.partition:
                check.differ(
                    f"change of {each.change.campaign_id} from partition {each.change.partition} is in another"
                )
            by_campaign[each.change.campaign_id].append(each.change)
        for name, changes in by_campaign.items():
            for fault in _faults(changes):
                check.differ(f"{name}: {fault}")
        self._compare_records(check, by_campaign)

    def _compare_records(self, check: Check, by_campaign: Mapping[str, list[CampaignChange]]) -> None:
        topic = self._cluster.topic(_INPUT)
        judged = committed_offsets(self._cluster, self._cluster.group("gate"), topic, self._partitions)
        letters = [decode(value, Rejected) for value in read_all(self._cluster, "rejects", 0)]
        refused = {(letter.partition, letter.offset) for letter in letters if letter.topic == topic}
        changes = {(change.partition, change.offset): change for own in by_campaign.values() for change in own}
        for partition in range(self._partitions):
            for record in read_log(self._cluster, _INPUT, partition):
                place = partition, record.offset
                if record.offset >= judged[partition]:
                    continue
                check.compared += 1
                campaign = _announced(record.value)
                change = changes.get(place)
                if change is not None and (place in refused or change.campaign != campaign):
                    check.differ(f"{topic}[{partition}] at {record.offset} is {campaign}, the history says {change}")
                elif change is None and place not in refused and record.value is not None:
                    known = by_campaign.get(campaign.campaign_id, []) if campaign is not None else []
                    if all(each.campaign != campaign for each in known):
                        check.differ(f"{topic}[{partition}] at {record.offset} was neither accepted nor refused")

    def compare_clickhouse(
        self, check: Check, rows: ClickHouseRows, sink_offsets: Mapping[int, int], wait: WaitPolicy
    ) -> None:
        """ClickHouse has the changes that the sink has committed, and no others."""
        to_sink = {_key(each.change) for each in self._kept if each.offset >= sink_offsets[each.partition]}
        wanted = {_key(each.change): _row(each.change) for each in self._kept}
        check.compare(
            {key: row for key, row in rows.campaign_history(_TERMS).items() if key not in to_sink},
            {key: row for key, row in wanted.items() if key not in to_sink},
            names=_COLUMNS,
        )
        if to_sink:
            wait.not_there(check, f"the sink has yet to write {len(to_sink)} changes of campaigns")

    def compare_pacing(self, check: Check, counters: PacingCounters, wait: WaitPolicy) -> None:
        """Pacing goes by the last change of each campaign."""

        def behind() -> set[str]:
            counters.next_offsets()
            return {name for name, change in self.latest.items() if counters.campaign(name)[0] < change.number}

        wait.wait_until(lambda: not behind())
        if missing := behind():
            wait.not_there(check, f"pacing has yet to take changes of {len(missing)} campaigns, such as {min(missing)}")
        found = {name: counters.campaign(name) for name in self.latest if name not in missing}
        # One that is further has taken a change that came after the history was read.
        taken = {name for name, (number, _) in found.items() if number == self.latest[name].number}
        check.compare(
            {name: found[name][1] for name in taken},
            {name: self.latest[name].campaign for name in taken},
        )


def _announced(value: bytes | None) -> Campaign | None:
    campaign = read(value, lambda data: decode_event(data, Campaign))
    return None if isinstance(campaign, Unreadable) else campaign


def _faults(changes: list[CampaignChange]) -> Iterator[str]:
    """How the changes of one campaign break the rules of the gate."""
    if [change.number for change in changes] != list(range(1, len(changes) + 1)):
        yield f"its changes have the numbers {[change.number for change in changes]}"
    contents: dict[int, Campaign] = {}
    currency: str | None = None
    highest = -1
    for change in changes:
        campaign = change.campaign
        if campaign is None:
            continue
        if zone(campaign.timezone) is None:
            yield f"change {change.number} has the unknown time zone {campaign.timezone!r}"
        if campaign.version < highest or contents.setdefault(campaign.version, campaign) != campaign:
            yield f"change {change.number} has version {campaign.version}, which came before or is too low"
        if currency is not None and campaign.currency != currency:
            yield f"change {change.number} has currency {campaign.currency!r}, it was {currency!r}"
        highest, currency = max(highest, campaign.version), campaign.currency


def _key(change: CampaignChange) -> Key:
    return change.campaign_id, change.number


def _row(change: CampaignChange) -> Key:
    of, campaign = (max(0, change.in_force_ms), change.partition, change.offset), change.campaign
    if campaign is None:
        return (*of, True, 0, 0, "", "", None, None, *_TERMS.values())
    announced = campaign.version, campaign.daily_budget_micros, campaign.status, campaign.timezone
    given = (getattr(campaign, name) for name in _TERMS)
    terms = (
        default if value is None else tuple(value) if isinstance(value, list) else value
        for value, default in zip(given, _TERMS.values(), strict=True)
    )
    return (*of, False, *announced, campaign.start, campaign.end, *terms)
