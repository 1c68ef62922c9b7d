"""Holds what a run left in Kafka, ClickHouse and the pacing counters against the batch truth of its inputs."""

from streams.verify.check import Check as Check
from streams.verify.run import Asked as Asked
from streams.verify.run import Verification as Verification
from streams.verify.written import last_ledgers as last_ledgers
from streams.verify.written import summed_totals as summed_totals
