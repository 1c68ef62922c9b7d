"""Whether the decisions in `ads.pacing` keep to what campaigns say: budgets, shared budgets, caps by the hour.

As far as the log shows: compaction leaves the last decision of each campaign, and some before it. What ad servers spend
by these decisions is not judged here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from schemas.codec import decoder
from schemas.events import Campaign
from schemas.pacing import PacingDecision
from schemas.reading import Unreadable, read
from streams.kafka.cluster import Cluster
from streams.kafka.reads import stream_log
from streams.verify.check import Check

_HOUR_MS: Final = 3_600_000
# So long after a change pacing may go by what was in force before, which is told again after a minute at the latest.
_GRACE_MS: Final = 90_000


class Said(NamedTuple):
    """A decision, and when it was written, by the wall clock."""

    at_ms: int
    decision: PacingDecision


class InForce(NamedTuple):
    """What is in force of a campaign from a moment on, by the wall clock; None from its withdrawal on."""

    from_ms: int
    campaign: Campaign | None


Versions = Mapping[str, Sequence[InForce]]


def check_decisions(check: Check, cluster: Cluster, partitions: int, versions: Versions) -> None:
    """Judges all decisions that Kafka has."""
    said: list[Said] = []
    for partition in range(partitions):
        for record in stream_log(cluster, cluster.topic("pacing"), partition):
            decision = read(record.value, _decision) if record.value is not None else None
            if decision is not None and not isinstance(decision, Unreadable):
                said.append(Said(record.record_ts_ms, decision))
    check.compared += len(said)
    for fault in faults(said, versions):
        check.differ(fault)


def faults(said: Iterable[Said], versions: Versions) -> Iterator[str]:
    """How decisions break the rules, each with its campaign."""
    by_campaign: defaultdict[str, list[Said]] = defaultdict(list)
    for each in said:
        by_campaign[each.decision.campaign_id].append(each)
    for name, own in by_campaign.items():
        own.sort(key=lambda each: each.decision.version)  # a former owner may have written last
        yield from _own_faults(own, versions.get(name, ()))
    yield from _shared_faults({name: own[-1] for name, own in by_campaign.items()}, versions)


def _own_faults(said: Sequence[Said], versions: Sequence[InForce]) -> Iterator[str]:
    begun: PacingDecision | None = None
    for at_ms, decision in said:
        name = f"{decision.campaign_id}, version {decision.version}"
        allowed = _about(versions, at_ms)
        most = max((campaign.daily_budget_micros for campaign in allowed), default=0)
        if decision.budget_micros > most:
            yield f"{name}: its budget of {decision.budget_micros} is above {most}, that of the campaign"
        if decision.admit > 0 and decision.spend_micros >= decision.budget_micros:
            yield (
                f"{name}: admits {decision.admit}, and {decision.spend_micros} of {decision.budget_micros} are spent"
            )
        # The first decision of a clock hour that knows all of the hours before: what came since is of this hour.
        if begun is None or _hour(begun) != _hour(decision):
            hour_ms = decision.day_start + _hour(decision)[1] * _HOUR_MS
            begun = decision if decision.counted_to_ms >= hour_ms else None
        if begun is None:
            continue
        cap = max((campaign.hourly_cap_micros or 0 for campaign in allowed), default=0)
        is_capped = cap and all(campaign.hourly_cap_micros for campaign in allowed)
        in_hour = decision.spend_micros - begun.spend_micros
        if is_capped and decision.admit > 0 and in_hour >= cap:
            yield f"{name}: admits {decision.admit}, and {in_hour} of the hour's cap of {cap} are spent"


def _shared_faults(last: Mapping[str, Said], versions: Versions) -> Iterator[str]:
    """Of the last decisions: budgets of one day add up to no more than is shared, or is committed already."""
    sharing: defaultdict[tuple[str, int], list[tuple[Said, Campaign]]] = defaultdict(list)
    newest_ms = max((said.at_ms for said in last.values()), default=0)
    unsure = set()
    for name, said in last.items():
        own = versions.get(name, ())
        campaign = own[-1].campaign if own else None
        # One that changed a short while ago may be told by what was in force before.
        if own and own[-1].from_ms > newest_ms - _GRACE_MS:
            unsure |= {each.campaign.budget_id for each in own if each.campaign is not None}
        if campaign is not None and campaign.budget_id is not None:
            sharing[campaign.budget_id, said.decision.day_start].append((said, campaign))
    for (budget_id, _), members in sorted(sharing.items()):
        amount = min(campaign.shared_budget_micros or 0 for _, campaign in members)
        decisions = [said.decision for said, _ in members]
        committed = sum(one.spend_micros + one.in_flight_micros + one.allowance_micros for one in decisions)
        together = sum(one.budget_micros for one in decisions)
        if budget_id not in unsure and together > max(amount, committed):
            names = ", ".join(sorted(one.campaign_id for one in decisions))
            yield f"budget {budget_id}: {names} have {together} together, {amount} are shared"


def _about(versions: Sequence[InForce], at_ms: int) -> list[Campaign]:
    """What pacing may have gone by at a moment."""
    first = max(bisect_right(versions, at_ms - _GRACE_MS, key=lambda each: each.from_ms) - 1, 0)
    last = bisect_right(versions, at_ms, key=lambda each: each.from_ms)
    return [each.campaign for each in versions[first:last] if each.campaign is not None]


def _hour(decision: PacingDecision) -> tuple[int, int]:
    return decision.day_start, (decision.event_ms - decision.day_start) // _HOUR_MS


_decision: Final = decoder(PacingDecision).decode
