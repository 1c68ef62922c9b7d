"""Holds what a join put out against the batch truth, down to every counter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import orjson

from schemas.codec import decode
from schemas.outcomes import Outcome
from schemas.packed import campaign_totals, minute_totals
from schemas.records import Out
from schemas.rejects import Rejected
from schemas.totals import DIMENSIONS, MEASURES, CampaignTotal, Ledger, MinuteTotal
from streams.verify.oracle import Key, Truth


def outcomes_of(outs: Iterable[Out]) -> list[Outcome]:
    return [decode(out.value or b"", Outcome) for out in outs if out.topic == "outcomes"]


def decided_of(outs: Iterable[Out]) -> list[Outcome]:
    """The outcomes that are decisions: all but `shown`."""
    return [outcome for outcome in outcomes_of(outs) if outcome.kind != "shown"]


def partition_of(out: Out) -> int:
    """The join partition that a record of any topic of the join is of."""
    packed = out.topic in ("totals", "campaign_totals")
    fields: dict[str, Any] = msgspec.msgpack.decode(out.value or b"") if packed else orjson.loads(out.value or b"")
    return int(fields["join_partition"] if "join_partition" in fields else fields["partition"])


def latest_totals(
    outs: Iterable[Out], extra: Sequence[str] = ()
) -> tuple[dict[Key, dict[str, int]], dict[Key, dict[str, int]]]:
    """(minute totals, campaign totals) by key: of each key the highest version, whatever the order."""
    minutes: dict[Key, MinuteTotal] = {}
    campaigns: dict[Key, CampaignTotal] = {}
    for out in outs:
        if out.topic == "totals":
            for total in minute_totals(out.value or b"").rows(extra):
                key = (total.minute, *(getattr(total, name) for name in DIMENSIONS), *total.extra)
                if key not in minutes or minutes[key].version <= total.version:
                    minutes[key] = total
        elif out.topic == "campaign_totals":
            for row in campaign_totals(out.value or b""):
                at = (row.campaign_id, row.quarter)
                if at not in campaigns or campaigns[at].version <= row.version:
                    campaigns[at] = row
    return (
        {key: {name: getattr(row, name) for name in MEASURES} for key, row in minutes.items()},
        {key: {name: getattr(row, name) for name in MEASURES} for key, row in campaigns.items()},
    )


def assert_agrees(outs: list[Out], truth: Truth, names: Mapping[str, str] | None = None) -> None:
    """Outcomes as a multiset, totals, dead letters and the last ledger equal the truth. `names`: topic -> role."""
    role_of = names or {"impressions": "impressions", "clicks": "clicks"}
    assert_same("outcomes", Counter(map(repr, outcomes_of(outs))), Counter(map(repr, truth.outcomes)))
    minutes, campaigns = latest_totals(outs, [dimension.name for dimension in truth.extra])
    assert_same("totals", minutes, _whole(truth.totals))
    assert_same("campaign totals", campaigns, _whole(truth.campaigns))
    letters = [decode(out.value or b"", Rejected) for out in outs if out.topic == "rejects"]
    for log, judged in (("impressions", truth.impressions), ("clicks", truth.clicks)):
        found = Counter((one.offset, one.reason) for one in letters if role_of.get(one.topic) == log)
        assert_same(f"rejects of {log}", found, Counter(judged.rejects))
    ledgers = [decode(out.value or b"", Ledger) for out in outs if out.topic == "ledger"]
    if ledgers:
        assert_ledger(max(ledgers, key=lambda ledger: ledger.version), truth)


def assert_same(what: str, found: Mapping[Any, Any], wanted: Mapping[Any, Any]) -> None:
    """Names the first key, in order, on which two tables differ."""
    if found != wanted:
        key = min((key for key in {**found, **wanted} if found.get(key) != wanted.get(key)), key=repr)
        raise AssertionError(f"{what}: {key} should be {wanted.get(key, 'absent')}, is {found.get(key, 'absent')}")


def assert_ledger(ledger: Ledger, truth: Truth) -> None:
    assert ledger.imbalance() == ""
    for name, judged in (("impressions", truth.impressions), ("clicks", truth.clicks)):
        found = getattr(ledger, name)
        for count in ("consumed", "accepted", "late", "duplicate", "rejected", "held", "late_by_seal"):
            assert getattr(found, count) == judged.counts[count], (name, count, getattr(found, count), judged.counts)
    for count in ("open", "closed", "unclicked", "billable", "repeat", "orphan", "pending"):
        assert getattr(ledger, count) == truth.counts[count], (count, getattr(ledger, count), truth.counts)


def _whole(totals: dict[Key, Counter[str]]) -> dict[Key, dict[str, int]]:
    return {key: {name: row[name] for name in MEASURES} for key, row in totals.items()}
