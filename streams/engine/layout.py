"""Which partitions of a group's topics make up one task: the same one of all topics, or each by itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

# More than Kafka lets a topic have.
_MOST_PARTITIONS: Final = 1 << 20


class Place(NamedTuple):
    """A partition of a topic, and the role of that topic."""

    role: str
    topic: str
    partition: int


class Layout(ABC):
    """The tasks of a group by their numbers. `roles` has the role of each topic that it reads."""

    def __init__(self, roles: Mapping[str, str]) -> None:
        self.roles = dict(roles)

    @property
    @abstractmethod
    def subscribed(self) -> Sequence[str]:
        """The topics whose partitions the group shares out among its workers."""

    @abstractmethod
    def task(self, topic: str, partition: int) -> int:
        """The task of a partition."""

    @abstractmethod
    def places(self, task: int) -> list[Place]:
        """The partitions of a task."""

    def partition(self, task: int) -> int:
        """The number that the partitions of a task have in their topics."""
        return self.places(task)[0].partition

    def where(self, role: str, task: int) -> str:
        """An input of a task, as messages name it."""
        return f"{role}[{self.partition(task)}]"

    def name(self, task: int) -> str:
        """A task, as messages name it."""
        return f"partition {self.partition(task)}"


class CoPartitioned(Layout):
    """A task has the partition of its own number of every topic: of inputs that meet by their keys."""

    @property
    def subscribed(self) -> Sequence[str]:
        # Subscribed to more, a worker would lose one partition of a task at a cooperative rebalance and keep another.
        return [next(iter(self.roles))]

    def task(self, topic: str, partition: int) -> int:  # noqa: ARG002
        return partition

    def places(self, task: int) -> list[Place]:
        return [Place(role, topic, task) for topic, role in self.roles.items()]


class Independent(Layout):
    """Each partition of each topic is a task: of topics with any keys and any numbers of partitions."""

    def __init__(self, roles: Mapping[str, str]) -> None:
        super().__init__(roles)
        self._topics = list(self.roles)

    @property
    def subscribed(self) -> Sequence[str]:
        return self._topics

    def task(self, topic: str, partition: int) -> int:
        return self._topics.index(topic) * _MOST_PARTITIONS + partition

    def places(self, task: int) -> list[Place]:
        number, partition = divmod(task, _MOST_PARTITIONS)
        topic = self._topics[number]
        return [Place(self.roles[topic], topic, partition)]

    def name(self, task: int) -> str:
        return f"partition {self.partition(task)} of {self.places(task)[0].topic}"


# Of a runner that names tasks by the numbers of their partitions.
BY_PARTITION: Final = CoPartitioned({"": ""})
