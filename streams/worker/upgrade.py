"""Moves groups to other settings, at the cut they have committed: those of fold version 1 to this version, and those of
a join to further extra dimensions.

The workers of the version before are stopped first; what they committed is the cut. Here the marks at that cut are
written again under this version. At their next start the workers find no checkpoint of theirs, read the end of the logs
again up to the cut by the former rules, writing nothing, and go on from the cut by the new ones. So nothing is decided
twice, and totals, which are absolute, go on where they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from online_models.settings import LearnerSettings
from schemas.bounds import JoinBounds
from schemas.codec import decode, encode
from schemas.dimensions import ExtraDimension
from schemas.errors import StateMismatch
from streams.engine.ports import Commit
from streams.join.identity import JoinIdentity
from streams.join.mapped import InputMaps
from streams.join.mark import read_mark
from streams.join.moved import extended_mark, moved_mark
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.groups import GroupOffsets
from streams.learn.fold import LearnMark
from streams.worker.shown import highest_shown_ms

_INPUTS = ("impressions", "clicks")
_AS_THEY_ARE = InputMaps()


class Moved(NamedTuple):
    """What was moved of one group: the offsets of the cut by partition, and the partitions that needed nothing."""

    group: str
    cut: dict[int, dict[str, int]]
    already: Sequence[int]


def upgrade_join(
    cluster: Cluster,
    group: str,
    bounds: JoinBounds,
    dimensions: Sequence[str],
    extra: Sequence[ExtraDimension] = (),
    maps: InputMaps = _AS_THEY_ARE,
    *,
    dry_run: bool,
) -> Moved:
    """Moves a join's group. Raises StateMismatch for other settings, SettingsError while it has members."""
    admin = Admin(cluster)
    partitions = admin.check(_INPUTS, ("outcomes",))
    shards = admin.partition_counts()[cluster.topic("outcomes")]
    topics = (*admin.topic_ids(_INPUTS), str(partitions), str(shards))
    identity = JoinIdentity(bounds, dimensions, extra, topics, maps.digest)
    offsets = GroupOffsets(cluster, group, _INPUTS)
    commits = offsets.commits(partitions)
    moved: dict[int, Commit] = {}
    for partition, commit in commits.items():
        shown_ms = partial(highest_shown_ms, cluster, partition, bounds, commit.offsets["impressions"], maps)
        mark = extended_mark(commit.mark, identity.digest, identity.before, shown_ms)
        if extra and read_mark(commit.mark).digest == identity.former:
            raise StateMismatch(
                f"partition {partition} was written by the version before, which had no extra dimensions: run this "
                "command without them first"
            )
        if mark is None:
            mark = moved_mark(commit.mark, former=identity.former, digest=identity.digest, offsets=commit.offsets)
        if mark is not None:
            moved[partition] = Commit(commit.offsets, mark)
    return _rewrite(offsets, group, commits, moved, dry_run=dry_run)


def upgrade_learn(cluster: Cluster, group: str, settings: LearnerSettings, *, dry_run: bool) -> Moved:
    """Moves a learner's group: it learns anew from the first outcome it learned, as another model learns now.

    Raises as `upgrade_join`.
    """
    shards = Admin(cluster).require(("outcomes",))[cluster.topic("outcomes")]
    offsets = GroupOffsets(cluster, group, ("outcomes",))
    commits = offsets.commits(shards)
    moved: dict[int, Commit] = {}
    for shard, commit in commits.items():
        mark = decode(commit.mark, LearnMark)
        if mark.settings == settings.digest():
            continue
        if mark.settings not in settings.former_digests():
            raise StateMismatch(
                f"model shard {shard} was learned under settings {mark.settings}; those of the versions before are "
                f"{' and '.join(settings.former_digests())}: learn under another --group"
            )
        # No trail: the same outcomes come to other weights now.
        mark = msgspec.structs.replace(mark, settings=settings.digest(), trail="")
        moved[shard] = Commit(commit.offsets, encode(mark))
    return _rewrite(offsets, group, commits, moved, dry_run=dry_run)


def _rewrite(
    offsets: GroupOffsets, group: str, commits: dict[int, Commit], moved: dict[int, Commit], *, dry_run: bool
) -> Moved:
    if moved and not dry_run:
        offsets.rewrite(moved)
    cut = {partition: commit.offsets for partition, commit in moved.items()}
    return Moved(group, cut, [partition for partition in commits if partition not in moved])
