"""Which ports Kafka and ClickHouse take."""

from __future__ import annotations

import pytest

from schemas.errors import SettingsError
from streams.embedded import addresses
from streams.embedded.addresses import settled_port
from streams.embedded.ports import PORTS, free_port


@pytest.mark.parametrize("given", [True, False])
def test_a_port_is_not_that_of_both(given: bool) -> None:
    port = free_port()
    ports = {"given": port, "kept": 0} if given else {"given": 0, "kept": port}
    with pytest.raises(
        SettingsError, match=f"port {port} is that of Kafka and of ClickHouse; give another --kafka-port"
    ):
        settled_port("kafka", **ports, others=[port])


def test_the_usual_port_is_left_to_the_one_that_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = free_port()
    monkeypatch.setitem(addresses.USUAL, "kafka", usual)
    assert settled_port("kafka", given=0, kept=0) == usual
    assert settled_port("kafka", given=0, kept=0, others=[usual]) in set(PORTS) - {usual}
