"""The Faust app of a pacing worker, and its table."""

from __future__ import annotations

import logging
from typing import Any, Final, cast

import faust

from streams.kafka.faust_settings import faust_settings
from streams.kafka.process import client_id
from streams.pacing.settings import PacingSettings
from streams.pacing.state import NothingToRecover, StateTable

# Records that Faust holds for each of the two inputs, of up to half a megabyte each; 4,096 by default.
_FAUST_HOLDS: Final = 256


def faust_app(settings: PacingSettings, *, partitions: int) -> faust.App:
    """The app, not started."""
    for name in ("faust", "mode", "aiokafka"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return faust.App(
        settings.group,
        **faust_settings(settings.cluster, client_id=client_id(settings.slot)),
        store="memory://",
        datadir=str(settings.data_dir),
        autodiscover=False,
        topic_partitions=partitions,
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=settings.instance_id or None,
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.session_timeout_s / 4,
        stream_recovery_delay=0.0,
        stream_buffer_maxsize=_FAUST_HOLDS,
        # Faust asserts that a static member comes back under the URL it left with: the slot's name, not host and port.
        canonical_url=f"http://{settings.instance_id}.invalid" if settings.instance_id else None,
        # Pages come from a thread of their own, which answers also while this one does not.
        web_enabled=False,
    )


def state_table(app: faust.App, *, partitions: int) -> StateTable:
    """The table of the app, which reads no changelog."""
    table = StateTable(app, name="state", partitions=partitions, key_type=bytes, value_type=bytes)
    app.tables.add(table)
    # It makes one of its own otherwise; there is no setting for it.
    cast(Any, app.tables)._recovery = NothingToRecover(app, app.tables, loop=app.loop)
    return table
