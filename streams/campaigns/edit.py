"""The next version of a campaign: its last one with some fields changed, judged as the gate will judge it."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import structs

from schemas.codec import encode
from schemas.events import Campaign, decode_event
from schemas.reading import Unreadable
from streams.campaigns.judge import Campaigns, Place

# What a new campaign has unless it says otherwise. Its budget has no default.
NEW: Final[Mapping[str, Any]] = {"timezone": "UTC", "status": "active", "pacing": "even"}
FIELDS: Final = tuple(field.name for field in structs.fields(Campaign) if field.name not in ("campaign_id", "version"))
_NOWHERE: Final = Place(partition=-1, offset=-1, record_ts_ms=-1)


class Refusal(NamedTuple):
    """Why there is no next version; nothing changes.

    'unknown': there is no campaign to change. 'exists': there is one where a new one should be. 'field': `field` has a
    value that it cannot have. 'refused': the campaign as a whole cannot be so, or the gate would refuse the record.
    """

    kind: Literal["unknown", "exists", "field", "refused"]
    detail: str
    field: str | None = None


def next_version(
    campaigns: Campaigns, campaign_id: str, fields: Mapping[str, Any], *, new: bool = False
) -> Campaign | Refusal:
    """The record to write so that the campaign has these fields; the same record again where it has them already.

    `campaigns` are those of its partition. `new` announces a campaign that is not there. A field that is None loses its
    value. A campaign that was withdrawn counts as not there; announced again, it goes on above its last version.
    """
    unknown = sorted(fields.keys() - set(FIELDS))
    if unknown:
        return Refusal("field", f"{unknown[0]} is no field that can be set; there are {', '.join(FIELDS)}", unknown[0])
    # JSON, in which the record is judged and written, has no such number.
    endless = [name for name, value in fields.items() if not _is_finite(value)]
    if endless:
        return Refusal("field", f"{endless[0]} is not finite; give a finite number", endless[0])
    in_force, last = campaigns.in_force(campaign_id), campaigns.last(campaign_id)
    if new and in_force is not None:
        detail = (
            f"there is a campaign {campaign_id!r}, version {in_force.version}; set its fields without announcing it"
        )
        return Refusal("exists", detail)
    if in_force is None and not new:
        return Refusal("unknown", f"there is no campaign {campaign_id!r}; announce it as a new one, with its budget")
    before = NEW if in_force is None else structs.asdict(in_force)
    after = {**before, **fields, "campaign_id": campaign_id, "version": last.version + 1 if last is not None else 0}
    try:
        campaign = decode_event(encode({name: value for name, value in after.items() if value is not None}), Campaign)
    except msgspec.ValidationError as error:
        return _wrong(str(error))
    if in_force is not None and structs.replace(campaign, version=in_force.version) == in_force:
        return in_force
    judged = campaigns.announced(campaign, _NOWHERE)
    return Refusal("refused", judged.detail) if isinstance(judged, Unreadable) else campaign


def _is_finite(value: Any) -> bool:
    numbers = value if isinstance(value, list) else [value]
    return all(isfinite(number) for number in numbers if isinstance(number, float))


def _wrong(text: str) -> Refusal:
    """msgspec's sentence, with the field in front."""
    what, _, where = text.partition(" - at ")
    field = where.strip("`").removeprefix("$").removeprefix(".").partition(".")[0].partition("[")[0]
    if not field and "missing required field" in what:
        field = what.rpartition("field ")[2].strip("`")
        return Refusal("refused", f"{field} is missing; a campaign needs it", field)
    return Refusal("field", f"{field or 'the campaign'}: {what[:1].lower()}{what[1:]}", field or None)
