"""Topics: created by `clickfold init`, checked by every worker at its start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]  # not in its __all__
from confluent_kafka.cimpl import NewTopic

from schemas.errors import SettingsError, Transient
from schemas.topics import TOPICS, Topic
from streams.kafka.cluster import Cluster
from streams.kafka.settings import LONGEST_REQUEST_S, admin_settings
from streams.kafka.topic_facts import TopicFacts

_ANSWER_S = 10.0
# A worker with a wrong address must say so within 15 s, its start on a busy machine included.
_FIRST_ANSWER_S = 6.0
# A user with fewer rights may not ask this.
FORBIDDEN = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
)
_REFUSED = (KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError.SASL_AUTHENTICATION_FAILED)
# A broker that does not take the client's certificate says so in an alert, which librdkafka reports as _TRANSPORT.
_ALERT = "SSL routines"
# Input topics for records that carry their own event time as Kafka timestamp, however long ago or far ahead.
REPLAYED = {
    "message.timestamp.type": "CreateTime",
    "message.timestamp.after.max.ms": str(2**63 - 1),
    "retention.ms": "-1",
}


class Member(NamedTuple):
    """A member of a consumer group. `instance_id` is empty for a dynamic one; `address` is as the broker sees it."""

    id: str
    instance_id: str
    client_id: str
    address: str


class Admin:
    """Lists, checks and creates topics. Waits at most ten seconds for an answer."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        # Why a broker did not let this client in.
        self._refusal: KafkaError | None = None
        # Kept, because the futures of a collected AdminClient are cancelled.
        try:
            self._client = AdminClient(admin_settings(cluster, self._note))
        except KafkaException as error:
            raise SettingsError(
                f"the Kafka settings cannot work: {error.args[0].str()}; correct the KAFKA_… variables"
            ) from error

    def partition_counts(self) -> dict[str, int]:
        """Partitions of every topic there is, by full name. Raises Transient when no broker answers, SettingsError when
        one answers and refuses this client.

        A command or a worker at its start ends with that error; a worker that begins again tries until Kafka is back.
        """
        try:
            topics = self._client.list_topics(timeout=_FIRST_ANSWER_S).topics
        except KafkaException as error:
            self._client.poll(0)  # calls `_note`
            if self._refusal is not None:
                raise SettingsError(self._refused(self._refusal)) from error
            raise Transient(
                f"no Kafka broker answers at KAFKA_BOOTSTRAP_SERVERS={self._cluster.bootstrap} within "
                f"{_FIRST_ANSWER_S:.0f} s ({error.args[0].str()}); start one, or name one that runs"
            ) from error
        return {name: len(topic.partitions) for name, topic in topics.items()}

    def _note(self, error: KafkaError) -> None:
        if error.code() in _REFUSED or _ALERT in error.str():
            self._refusal = error

    def _refused(self, error: KafkaError) -> str:
        at = f"KAFKA_BOOTSTRAP_SERVERS={self._cluster.bootstrap}"
        if error.code() == KafkaError._SSL or _ALERT in error.str():
            return (
                f"a Kafka broker answers at {at}, but TLS fails ({error.str()}); correct KAFKA_SSL_CA_LOCATION, or the "
                "certificate and key in KAFKA_SSL_CERTIFICATE_LOCATION and KAFKA_SSL_KEY_LOCATION"
            )
        return (
            f"a Kafka broker answers at {at}, but authentication failed ({error.str()}); correct "
            "KAFKA_SASL_MECHANISM and the user and password, or the KAFKA_OIDC_… variables"
        )

    def create(
        self,
        *,
        partitions: int,
        shards: int = 1,
        replication: int = -1,
        input_config: Mapping[str, str] | None = None,
    ) -> list[str]:
        """Makes the topics that are missing and returns their names; those that exist stay as they are.

        `input_config` replaces settings of impressions and clicks.

        Raises SettingsError when one that exists has another partition count than asked for.
        """
        existing = self.partition_counts()
        counts = {topic.role: _count(topic, partitions, shards) for topic in TOPICS.values()}
        for role, count in counts.items():
            name = self._cluster.topic(role)
            if existing.get(name, count) != count:
                raise SettingsError(
                    f"topic {name} has {existing[name]} partitions, asked for are {count}; init with the count it has "
                    "(--partitions, --shards), or use another topic prefix"
                )
        missing = [topic for topic in TOPICS.values() if self._cluster.topic(topic.role) not in existing]
        self._create(
            [
                NewTopic(
                    self._cluster.topic(topic.role),
                    counts[topic.role],
                    replication,
                    config=_config(topic, input_config),
                )
                for topic in missing
            ]
        )
        return [self._cluster.topic(topic.role) for topic in missing]

    def create_topic(self, name: str, *, partitions: int, config: Mapping[str, str]) -> None:
        """Makes a topic of this full name, with the broker's replication factor, unless it exists."""
        self._create([NewTopic(name, partitions, config=dict(config))])

    def _create(self, topics: Sequence[NewTopic]) -> None:
        if not topics:
            return
        for name, future in self._client.create_topics(list(topics), request_timeout=_ANSWER_S).items():
            try:
                future.result()
            except KafkaException as error:
                # Somebody else made it meanwhile.
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise SettingsError(f"topic {name} was not created: {error.args[0].str()}") from error

    def require(self, roles: Sequence[str]) -> dict[str, int]:
        """Partitions of every topic there is, by full name. Raises SettingsError unless those of the roles exist."""
        existing = self.partition_counts()
        missing = [name for name in map(self._cluster.topic, roles) if name not in existing]
        if missing:
            verb = "topic {} does" if len(missing) == 1 else "topics {} do"
            raise SettingsError(f"{verb.format(', '.join(missing))} not exist; run `clickfold init` first")
        return existing

    def check(self, inputs: Sequence[str], others: Sequence[str]) -> int:
        """The common partition count of the inputs. Raises SettingsError when a topic is missing or counts differ."""
        existing = self.require((*inputs, *others))
        counts = {name: existing[name] for name in map(self._cluster.topic, inputs)}
        if len(set(counts.values())) > 1:
            raise SettingsError(
                f"the inputs have unequal partition counts {counts}: an impression and its click would not meet; "
                "recreate one with the count of the other, and the same partitioner"
            )
        return next(iter(counts.values()))

    def stamped_by_broker(self, roles: Sequence[str]) -> bool:
        """Whether the broker, not the producers, is known to set the times of records in all these topics.

        It is not known of a topic whose settings this user may not see. Raises SettingsError when one is missing,
        Transient when Kafka does not answer.
        """
        self.require(roles)
        configs = self.configs([self._cluster.topic(role) for role in roles])
        return all(config.get("message.timestamp.type") == "LogAppendTime" for config in configs.values())

    def group_members(self, group: str) -> list[str]:
        """The members of a consumer group, by instance id where they have one; [] when there are none."""
        return [member.instance_id or member.id for member in self.members(group)]

    def members(self, group: str) -> list[Member]:
        """The members of a consumer group; a dead one is among them until its session timeout. Raises Transient."""
        described = self._described(group)
        return [
            Member(one.member_id, one.group_instance_id or "", one.client_id or "", (one.host or "").lstrip("/"))
            for one in (described.members if described else [])
        ]

    def configs(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        """The settings of these topics, which exist; none of a topic whose settings this user may not see.

        Raises Transient when Kafka does not answer.
        """
        if not names:
            return {}
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
        found: dict[str, dict[str, str]] = {}
        for resource, future in self._client.describe_configs(resources, request_timeout=_ANSWER_S).items():
            try:
                found[resource.name] = {name: str(entry.value) for name, entry in future.result().items()}
            except KafkaException as error:
                if error.args[0].code() not in FORBIDDEN:
                    raise Transient(f"Kafka does not describe {resource.name}: {error.args[0].str()}") from error
                found[resource.name] = {}
        return found

    def assignor(self, group: str) -> str:
        """The assignor of the members that a consumer group has now; empty when it has none.

        Raises Transient when Kafka does not answer.
        """
        described = self._described(group)
        return str(described.partition_assignor or "") if described is not None and described.members else ""

    def _described(self, group: str) -> Any:
        """What Kafka says of a consumer group; None when there is none."""
        # A client for each question, see `LONGEST_REQUEST_S`: one that is kept does not find the coordinator any more
        # after Kafka was away (librdkafka 2.16).
        client = AdminClient(admin_settings(self._cluster, self._note))
        try:
            return client.describe_consumer_groups([group], request_timeout=LONGEST_REQUEST_S)[group].result(_ANSWER_S)
        except TimeoutError as error:
            raise Transient(f"Kafka does not describe group {group} within {_ANSWER_S:.0f} s") from error
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return None
            raise Transient(f"Kafka does not describe group {group}: {error.args[0].str()}") from error

    def topic_facts(self, names: Sequence[str]) -> dict[str, TopicFacts]:
        """Kafka's own id and the partition count of each topic, by full name; a topic that does not exist is left out.

        Raises Transient when Kafka does not answer.
        """
        found: dict[str, TopicFacts] = {}
        for name, future in self._client.describe_topics(
            TopicCollection(list(names)), request_timeout=_ANSWER_S
        ).items():
            try:
                topic = future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise Transient(f"Kafka does not describe {name}: {error.args[0].str()}") from error
            else:
                found[name] = TopicFacts(str(topic.topic_id), len(topic.partitions))
        return found

    def topic_ids(self, roles: Sequence[str]) -> list[str]:
        """Kafka's own ids of the topics: a topic that was deleted and made again is another log."""
        names = [self._cluster.topic(role) for role in roles]
        facts = self.topic_facts(names)
        missing = [name for name in names if name not in facts]
        if missing:
            raise Transient(f"Kafka does not describe {', '.join(missing)}: there is no such topic now")
        return [facts[name].id for name in names]


def _count(topic: Topic, partitions: int, shards: int) -> int:
    return {"join": partitions, "campaign": partitions, "shard": shards, "one": 1}[topic.partitions]


def _config(topic: Topic, input_config: Mapping[str, str] | None) -> dict[str, str]:
    more = input_config if topic.role in ("impressions", "clicks") and input_config else {}
    return {**topic.config, **more}
